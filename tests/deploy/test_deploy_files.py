"""Deployment files name existing metrics, settings, ports and files only. The tools that judge the rest need more than
Python: `python -m tests.deploy` and `make cluster` run them.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

import gateway.telemetry.metrics
import workers.metrics
from gateway.settings import Settings, load_settings, unknown_variables
from gateway.settings.config_file import DEFAULT_PATH, read_config_file
from tests.cluster.programs import DEPLOY, ROOT, replaced, with_targets
from tests.cluster.queries import documented_queries
from tests.deploy.image import instructions

RULES = (DEPLOY / "prometheus/rules.yml").read_text()
RULE_TESTS = (DEPLOY / "prometheus/rules.test.yml").read_text()
CHART = DEPLOY / "helm/dragoman"
TEMPLATES = "".join(path.read_text() for path in (CHART / "templates").iterdir())
FILES = {
    "Dockerfile": (ROOT / "Dockerfile").read_text(),
    "compose.yaml": (ROOT / "compose.yaml").read_text(),
    "the chart": TEMPLATES,
    "the deployment guide": (ROOT / "docs/deployment.md").read_text(),
}
ALERTS = re.findall(r"- alert: (\w+)", RULES)
RECORDED = set(re.findall(r"- record: ([\w:]+)", RULES))


def exposed() -> set[str]:
    """The names of all series, as Prometheus sees them."""
    names = set()
    for module in (gateway.telemetry.metrics, workers.metrics):
        for metric in vars(module).values():
            if isinstance(metric, MetricWrapperBase):
                endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
                names |= {metric._name + ending for ending in endings.get(str(metric._type), ("",))}
    return names


@pytest.mark.parametrize(
    "text", [RULES, RULE_TESTS, " ".join(query for _, query in documented_queries())], ids=["rules", "tests", "queries"]
)
def test_every_metric_that_is_asked_for_is_exposed_and_every_rule_recorded(text: str) -> None:
    assert set(re.findall(r"\bgateway_\w+", text)) <= exposed()
    assert set(re.findall(r"\bgateway:[\w:]+", text)) <= RECORDED


@pytest.mark.covers("Operation · alerts are made to fire")
def test_every_alert_is_made_to_fire_and_to_stay_silent() -> None:
    silent = set(re.findall(r"- \{eval_time: 60m, alertname: (\w+)\}", RULE_TESTS))
    firing = set(re.findall(r"alertname: (\w+)\n +exp_alerts:", RULE_TESTS))
    assert len(ALERTS) == len(set(ALERTS))
    assert silent == firing == set(ALERTS)


@pytest.mark.parametrize("name", FILES)
def test_every_variable_that_is_set_or_shown_is_one_of_the_gateways(name: str) -> None:
    found = set(re.findall(r"\bGATEWAY_[A-Z_]+\b", FILES[name]))
    assert found
    assert unknown_variables(dict.fromkeys(found, "")) == []


def test_ports_are_those_that_the_settings_have() -> None:
    fields = Settings.model_fields
    client, admin, worker = (str(fields[name].default) for name in ("port", "admin_port", "worker_admin_port"))
    exposed_ports = next(text for name, text in instructions(FILES["Dockerfile"]) if name == "EXPOSE")
    assert exposed_ports.split() == [client, admin, worker]
    assert f'dict "front" {admin} "worker" {worker}' in TEMPLATES
    assert f"containerPort: {client}" in TEMPLATES
    prometheus = (DEPLOY / "prometheus/prometheus.yml").read_text()
    assert f"names: [front], type: A, port: {admin}" in prometheus
    assert f"names: [worker], type: A, port: {worker}" in prometheus
    assert f"front:{client} " in (DEPLOY / "haproxy/haproxy.cfg").read_text()


def test_stopped_processes_get_their_drain_time_and_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    drain = load_settings().drain_seconds
    units = [path.read_text() for path in (DEPLOY / "systemd").glob("*.service")]
    granted = [int(found) for unit in units for found in re.findall(r"TimeoutStopSec=(\d+)", unit)]
    granted += [int(found) for found in re.findall(r"stop_grace_period: (\d+)s", FILES["compose.yaml"])]
    assert len(granted) == 3
    assert all(seconds >= drain + 10 for seconds in granted)


@pytest.mark.covers("Operation · images, charts and compose files")
def test_the_image_runs_as_nobody_and_is_built_from_pinned_packages() -> None:
    steps = instructions(FILES["Dockerfile"])
    assert ("USER", "10001") in steps
    assert any("--require-hashes" in text for name, text in steps if name == "RUN")


def test_the_context_of_the_image_has_all_that_is_copied() -> None:
    kept = {line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = [text.split()[:-1] for name, text in instructions(FILES["Dockerfile"]) if name == "COPY"]
    names = {name for words in copied for name in words if not words[0].startswith("--from")}
    assert names == kept
    assert all((ROOT / name).exists() for name in names)


def test_the_chart_mounts_the_file_that_the_gateway_is_told_to_read() -> None:
    [named] = re.findall(r"name: GATEWAY_CONFIG, value: (\S+?)\}", TEMPLATES)
    [folder] = re.findall(r"name: config, mountPath: ([^,]+),", TEMPLATES)
    [file] = re.findall(r"^  (\S+): \|$", (CHART / "templates/config.yaml").read_text(), re.MULTILINE)
    assert named == f"{folder}/{file}"


def test_compose_starts_the_gateway_where_its_file_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = yaml.safe_load(FILES["compose.yaml"])["x-gateway"]
    source, target, mode = shared["volumes"][0].split(":")
    assert (shared["working_dir"], mode) == (target, "ro")
    assert {path.name for path in (ROOT / source).iterdir() if not path.name.startswith("gateway.")} == {"README.md"}
    assert shared["env_file"] == [{"path": f"{source}/gateway.env", "required": False}]
    for name, service in yaml.safe_load(FILES["compose.yaml"])["services"].items():
        if service.get("image") == "dragoman":
            assert service["volumes"] == shared["volumes"], name
    monkeypatch.chdir(tmp_path)
    assert read_config_file({}).path == ""
    (tmp_path / DEFAULT_PATH).write_text((DEPLOY / "examples/failover.toml").read_text())
    assert set(read_config_file({}).values["upstreams"]) == {"a", "b"}


def test_files_of_an_operator_stay_out_of_git_and_of_the_image() -> None:
    assert "deploy/config/gateway.*" in (ROOT / ".gitignore").read_text().splitlines()
    assert not any(line.startswith("!deploy") for line in (ROOT / ".dockerignore").read_text().splitlines())


def test_every_unit_reads_its_configuration_again_on_reload() -> None:
    units = [path.read_text() for path in (DEPLOY / "systemd").glob("*.service")]
    assert units
    assert all("ExecReload=/bin/kill -HUP $MAINPID" in unit for unit in units)


def test_the_chart_ships_the_rules_that_are_tested() -> None:
    assert (CHART / "rules.yml").resolve() == DEPLOY / "prometheus/rules.yml"


def test_the_cluster_replaces_what_it_means_to_replace() -> None:
    assert replaced("  bind :8080 a\n  bind :80", "bind :8080", "bind x") == "  bind x\n  bind :80"
    with pytest.raises(ValueError, match="no line"):
        replaced("bind :1", "bind :8080", "x")
    with pytest.raises(ValueError, match="no job other"):
        with_targets((DEPLOY / "prometheus/prometheus.yml").read_text(), {"other": [1]})


PROMTOOL = shutil.which("promtool")
if PROMTOOL is not None:  # Debian's prometheus brings it; `python -m tests.deploy` says so where it is missing

    def test_prometheus_own_tool_accepts_the_rules_and_their_tests(tmp_path: Path) -> None:
        command = [str(PROMTOOL), "test", "rules", str(DEPLOY / "prometheus/rules.test.yml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
