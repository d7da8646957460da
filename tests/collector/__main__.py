"""`make collector`: see traces and relayed telemetry in a real collector, installed on demand: MLflow, Phoenix.

    python -m tests.collector [mlflow | phoenix] [--keep]

`dragoman dev` exports its own spans; the official SDK exports its spans through the gateway's relay. The traces are
then read back from the collector's API: client, gateway and upstream call in one trace, a failure, and the items of a
batch. `--keep` leaves everything running until Ctrl-C, to look at the traces in the collector's page.
"""

import argparse
import json
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anthropic
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.clients.__main__ import running
from tests.servers.environment import Environment
from tests.support.ports import free_port

# Every export to MLflow names the experiment that takes it. 0 is the one that exists from the start.
EXPERIMENT = "0"
KEY = "key-of-acme-0123456789"
MESSAGE: dict[str, Any] = {
    "model": "sim/text-3",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "prompt-canary"}],
}
ITEMS = 3
WAIT_SECONDS = 60.0
# Collectors import for half a minute at their first start, and longer on a busy machine.
START_SECONDS = 300.0
PAGE = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """A span as the collector shows it."""

    name: str
    trace: str
    id: str
    parent: str | None
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Collector:
    """A collector's server: how it is installed and started, and how its spans are read."""

    environment: Environment
    command: Callable[[int, Path], list[str]]
    variables: Callable[[int, Path], dict[str, str]]
    probe: str
    headers: str
    spans: Callable[[str], list[Seen]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.collector", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", nargs="?", choices=COLLECTORS, default="mlflow", help="mlflow by default")
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    options = parser.parse_args()
    collector = COLLECTORS[options.name]
    collector.environment.install()
    with (
        TemporaryDirectory(prefix="collector-") as folder,
        collecting(collector, Path(folder)) as address,
        serving(collector, address, Path(folder)) as gateway,
    ):
        drive(gateway)
        problems = judge(collector, address)
        if options.keep:
            print(f"{options.name}: {address}  gateway: {gateway}", flush=True)  # noqa: T201
            with suppress(KeyboardInterrupt):
                time.sleep(86_400)
    for problem in problems:
        print(f"collector: {problem}", file=sys.stderr)  # noqa: T201
    sys.exit(1 if problems else 0)


@contextmanager
def collecting(collector: Collector, folder: Path) -> Iterator[str]:
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [str(collector.environment.python), *collector.command(port, folder)]
    variables = collector.variables(port, folder) | {"DO_NOT_TRACK": "true"}
    with running(command, address + collector.probe, variables, START_SECONDS):
        yield address


@contextmanager
def serving(collector: Collector, endpoint: str, folder: Path) -> Iterator[str]:
    address = f"http://127.0.0.1:{(port := free_port())}"
    settings = {
        "GATEWAY_ADMIN_PORT": "0",
        "GATEWAY_WORKER_ADMIN_PORT": "0",
        "GATEWAY_KEYS": f"acme:{KEY}",
        "GATEWAY_AUTH": "keys",
        "GATEWAY_TRACE_RATIO": "1",
        "GATEWAY_MAX_ATTEMPTS": "1",
        "GATEWAY_OTLP_ENDPOINT": endpoint,
        "GATEWAY_OTLP_HEADERS": collector.headers,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": collector.headers,
        "XDG_STATE_HOME": str(folder),
    }
    command = [sys.executable, "-m", "gateway", "dev", "--port", str(port)]
    with running(command, f"{address}/readyz", settings):
        yield address


def drive(gateway: str) -> None:
    """Send one request of each kind. The SDK's own spans go through the gateway's relay."""
    provider = TracerProvider()
    exporter = OTLPSpanExporter(f"{gateway}/v1/traces", headers={"x-api-key": KEY})
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    client = anthropic.Anthropic(base_url=gateway, api_key=KEY, max_retries=0)
    client.messages.create(**MESSAGE)
    with client.messages.stream(**MESSAGE) as stream:
        stream.until_done()
    with suppress(anthropic.APIStatusError):
        client.messages.create(**{**MESSAGE, "model": "sim/error-529"})
    requests: Any = [{"custom_id": f"item-{number}", "params": MESSAGE} for number in range(ITEMS)]
    batch = client.messages.batches.create(requests=requests)
    ends_at = time.monotonic() + WAIT_SECONDS
    while batch.processing_status != "ended" and time.monotonic() < ends_at:
        time.sleep(0.2)
        batch = client.messages.batches.retrieve(batch.id)
    provider.shutdown()


def judge(collector: Collector, address: str) -> list[str]:
    """Wait until the collector shows everything that was sent; return what is missing."""
    ends_at = time.monotonic() + WAIT_SECONDS
    while missing := problems_of(spans := collector.spans(address)):
        if time.monotonic() > ends_at:
            break
        time.sleep(1.0)
    traces = len({span.trace for span in spans})
    print(f"{len(spans)} spans in {traces} traces:")  # noqa: T201
    for name in sorted({span.name for span in spans}):
        print(f"  {sum(span.name == name for span in spans):3} {name}")  # noqa: T201
    return missing


def problems_of(spans: list[Seen]) -> list[str]:
    by_id = {span.id: span for span in spans}
    calls = [span for span in spans if span.name == "chat sim/text-3"]
    whole = [call for call in calls if len(chain := lineage(call, by_id)) == 3 and len({s.trace for s in chain}) == 1]
    items = [span for span in spans if span.name == "dragoman.batch.item"]
    creations = [span for span in spans if span.name == "anthropic.messages.batches.create"]
    checks = {
        "two requests from SDK to upstream in one trace each": len(whole) == 2,
        "a failed request with its type": any(
            span.attributes.get("error.type") == "overloaded_error" and "dragoman.cause" in span.attributes
            for span in spans
        ),
        "the creation of the batch, as the SDK's span and as ours": len(creations) == 2,
        "every item of the batch": {span.attributes.get("dragoman.batch.custom_id") for span in items}
        == {f"item-{number}" for number in range(ITEMS)},
        "the tenant": any(span.attributes.get("dragoman.tenant") == "acme" for span in spans),
        "no prompt": "prompt-canary" not in str(spans),
    }
    return [f"not shown: {name}" for name, holds in checks.items() if not holds]


def lineage(span: Seen, by_id: dict[str, Seen]) -> list[Seen]:
    """Return the span and those above it."""
    found = [span]
    while (parent := by_id.get(found[-1].parent or "")) is not None:
        found.append(parent)
    return found


def spans_in_mlflow(address: str) -> list[Seen]:
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": EXPERIMENT}}
    listed = ask(f"{address}/api/3.0/mlflow/traces/search", {"locations": [place], "max_results": PAGE})
    found = []
    for one in listed.get("traces", []):
        whole = ask(f"{address}/api/3.0/mlflow/traces/get?trace_id={one['trace_id']}")["trace"]
        found += [to_seen(span) for span in whole.get("spans", [])]
    return found


def spans_in_phoenix(address: str) -> list[Seen]:
    listed = ask(f"{address}/v1/projects/default/spans?limit={PAGE}")["data"]
    return [
        Seen(one["name"], one["context"]["trace_id"], one["context"]["span_id"], one["parent_id"], one["attributes"])
        for one in listed
    ]


def to_seen(span: dict[str, Any]) -> Seen:
    attributes = {one["key"]: next(iter(one["value"].values()), None) for one in span.get("attributes", [])}
    return Seen(span["name"], span["trace_id"], span["span_id"], span.get("parent_span_id"), attributes)


def ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


COLLECTORS = {
    "mlflow": Collector(
        Environment("mlflow", ("mlflow==3.17.2",)),
        command=lambda port, folder: [
            *("-m", "mlflow", "server", "--workers", "1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--default-artifact-root", f"{folder}/artifacts"),
        ],
        variables=lambda _port, _folder: {"MLFLOW_DISABLE_TELEMETRY": "true"},
        probe="/health",
        headers=f"x-mlflow-experiment-id={EXPERIMENT}",
        spans=spans_in_mlflow,
    ),
    "phoenix": Collector(
        Environment("phoenix", ("arize-phoenix==20.26.1",)),
        command=lambda _port, _folder: ["-m", "phoenix.server.main", "serve"],
        variables=lambda port, folder: {
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_WORKING_DIR": str(folder),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        },
        probe="/healthz",
        headers="",
        spans=spans_in_phoenix,
    ),
}


if __name__ == "__main__":
    main()
