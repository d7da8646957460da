"""`make clients`: run coding agents and SDKs against the gateway, on upstreams of each dialect.

    python -m tests.clients [--only REGEX] [--dialect chat|messages|responses] [-v]

Starts the scripted model (`upstream.py`) and, for each dialect, a gateway before it; `run.py` installs the clients at
fixed versions into $CLIENTS_CACHE (3 GB; needs npm and Node 20) and drives them. Anthropic's SDKs are programs of checks,
which run with the simulator and with llama.cpp as upstreams. The exit status is 1 if a case failed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.clients.programs import program_upstreams
from tests.clients.run import CASES, PROGRAMS
from tests.support.ports import free_port

HERE = Path(__file__).parent
DIALECTS = ("chat", "messages", "responses")
KEY, UPSTREAM_KEY, MODEL = "sk-clients-0123456789", "sk-scripted-0123456789", "scripted-model"
START_SECONDS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="cases whose name matches this pattern")
    parser.add_argument("--dialect", choices=DIALECTS, action="append", help="of the upstream; all three by default")
    parser.add_argument("-v", dest="verbose", action="store_true", help="print what a failed client wrote")
    arguments = parser.parse_args()
    options = ["--only", arguments.only, *(["-v"] if arguments.verbose else [])]
    wanted = {name for name in CASES if re.search(arguments.only, name)}
    passed = True
    for dialect in arguments.dialect or DIALECTS:
        print(f"upstream speaks {dialect}", flush=True)
        if wanted - set(PROGRAMS):
            passed &= run_agents(dialect, options)
        if wanted & set(PROGRAMS):
            passed &= run_programs(dialect, options)
    sys.exit(0 if passed and wanted else 1)


def run_agents(dialect: str, options: list[str]) -> bool:
    port = free_port()
    model = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(HERE / "upstream.py"), "--port", str(port), "--key", UPSTREAM_KEY]
    settings = {"GATEWAY_UPSTREAM_URL": f"{model}/v1", "GATEWAY_UPSTREAM_API_KEY": UPSTREAM_KEY}
    with running(command, f"{model}/_requests"), gateway("serve", dialect, settings) as address:
        return run_cases(address, [*options, "--model", MODEL, "--upstream", model])


def run_programs(dialect: str, options: list[str]) -> bool:
    passed = True
    with program_upstreams(dialect) as upstreams:
        for upstream in upstreams:
            print(f"upstream is {upstream.name}", flush=True)
            # With a store and a worker, for batches.
            with gateway("dev", dialect, upstream.settings) as address:
                passed &= run_cases(address, [*options, "--roles", json.dumps(upstream.roles)])
    return passed


def run_cases(address: str, options: list[str]) -> bool:
    command = [sys.executable, str(HERE / "run.py"), "--base-url", address, "--key", KEY, *options]
    return subprocess.run(command, check=False).returncode == 0


@contextmanager
def gateway(command: str, dialect: str, settings: dict[str, str]) -> Iterator[str]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="clients-state-") as state:
        own = {
            "GATEWAY_PORT": str(port),
            "GATEWAY_ADMIN_PORT": str(free_port()),
            "GATEWAY_WORKER_ADMIN_PORT": str(free_port()),
            "GATEWAY_DIALECT": dialect,
            "GATEWAY_AUTH": "keys",
            "GATEWAY_KEYS": f"clients:{KEY}",
            "GATEWAY_SECRET": "clients:a secret of sixteen letters",
            "XDG_STATE_HOME": state,
        }
        with running([sys.executable, "-m", "gateway", command], f"{address}/readyz", own | settings):
            yield address


@contextmanager
def running(
    command: list[str], probe: str, settings: dict[str, str] | None = None, seconds: float = START_SECONDS
) -> Iterator[None]:
    """Run a server while the block runs, which begins when the probe is answered. Raises RuntimeError if it is not."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment | (settings or {}), stdout=silent, stderr=silent) as process:
        try:
            wait_for(probe, process, seconds)
            yield
        finally:
            process.terminate()


def wait_for(probe: str, process: "subprocess.Popen[bytes]", seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(probe, timeout=2):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args} does not answer at {probe}")


if __name__ == "__main__":
    main()
