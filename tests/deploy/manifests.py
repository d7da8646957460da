"""`python manifests.py ROOT`: compose.yaml against the Compose Specification, the chart linted and rendered by Helm's
own engine, every manifest against Kubernetes' schemas.

Run by `python -m tests.deploy`, with the packages of requirements.txt and nothing of the project.
"""

import json
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from compose_spec import PyCompose
from helm_python import HelmError
from helm_python.chart import Chart, lint

# The oldest that Chart.yaml admits, and the newest with a schema here.
KUBERNETES = ("1.27", "1.37")
SECRET = {"openrouterApiKey": "sk-or", "gatewaySecret": "k1:secret", "keys": "team:key"}
# By purpose: values that an operator may set, and the kinds of resources that must result.
VALUES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "the least": (
        {"secret": SECRET},
        {"Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Secret", "Service"},
    ),
    "a secret of one's own": (
        {"secret": {"existing": "mine"}, "redisUrl": "", "front": {"autoscaling": {"enabled": False}}},
        {"Deployment", "PodDisruptionBudget", "Service"},
    ),
    "everything": (
        {
            "secret": SECRET,
            "settings": {"max_attempts": 2, "model_big": "some/model", "log_level": "warning"},
            "image": {"pullSecrets": [{"name": "registry"}]},
            "config": '[upstreams]\nopenrouter = { key = "${OPENROUTER_API_KEY}" }\n',
            "front": {
                "ingress": {"enabled": True, "host": "llm.example", "className": "nginx", "tlsSecret": "tls"},
                "nodeSelector": {"pool": "web"},
                "tolerations": [{"key": "web", "operator": "Exists"}],
                "podAnnotations": {"a": "b"},
            },
            "worker": {"autoscaling": {"enabled": True}, "slots": 128},
            "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
            "networkPolicy": {"enabled": True, "prometheusNamespace": "monitoring"},
        },
        {
            *("ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "PodDisruptionBudget"),
            *("PrometheusRule", "Secret", "Service", "ServiceMonitor"),
        },
    ),
}
# What must be refused: a role that is misspelt, a secret without an id, no secret at all.
WRONG: tuple[dict[str, Any], ...] = (
    {"secret": SECRET, "fronts": {}},
    {"secret": {**SECRET, "gatewaySecret": "without-an-id"}},
    {},
)
# Kinds of the Prometheus operator; Kubernetes has no schema of theirs.
CUSTOM = frozenset({"PrometheusRule", "ServiceMonitor"})


def check_compose(root: Path) -> str:
    found = PyCompose.from_json(json.dumps(yaml.safe_load((root / "compose.yaml").read_text())))
    found.validate()
    return f"{len(found.services)} services"


def check_chart(root: Path) -> str:
    chart_folder = root / "deploy/helm/dragoman"
    judged = 0
    with Chart.load(chart_folder) as chart:
        for name, (values, kinds) in VALUES.items():
            report = lint(chart_folder, values=values, strict=True)
            if report["errors"] or report["messages"]:
                raise ValueError(f"{name}: {report}")
            manifests = manifests_of(chart.render(values=values, name="demo", namespace="llm"))
            if {manifest["kind"] for manifest in manifests} != kinds:
                raise ValueError(f"{name}: rendered {sorted({manifest['kind'] for manifest in manifests})}")
            for manifest in manifests:
                judged += judge(manifest)
        for values in WRONG:
            refused(chart, values)
    return f"{judged} judgements of manifests, Kubernetes {' and '.join(KUBERNETES)}; {len(WRONG)} wrong values refused"


def manifests_of(rendered: dict[str, str]) -> list[Any]:
    texts = (text for name, text in rendered.items() if name.endswith(".yaml"))
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


def judge(manifest: Any) -> int:
    if manifest["kind"] in CUSTOM:
        return 0
    for version in KUBERNETES:
        kubernetes_validate.validate(manifest, version, strict=True)
    return len(KUBERNETES)


def refused(chart: Chart, values: dict[str, Any]) -> None:
    try:
        chart.render(values=values, name="demo")
    except HelmError:
        return
    raise ValueError(f"these values are taken: {values}")


if __name__ == "__main__":
    sys.stdout.write("; ".join(check(Path(sys.argv[1])) for check in (check_compose, check_chart)) + "\n")
