"""`make clients`: run coding agents and SDKs of OpenAI's APIs against the gateway, on upstreams of each dialect.

    python -m tests.clients [--only REGEX] [--dialect chat|messages|responses] [-v]

Starts the scripted model (`upstream.py`) and, for each dialect, a gateway before it; `run.py` installs the clients at
fixed versions into $CLIENTS_CACHE (3 GB; needs npm and Node 20) and drives them. The exit status is 1 if a case failed.
"""

import argparse
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
    script, port = str(HERE / "run.py"), free_port()
    model = f"http://127.0.0.1:{port}"
    failed = False
    with running(
        [sys.executable, str(HERE / "upstream.py"), "--port", str(port), "--key", UPSTREAM_KEY], f"{model}/_requests"
    ):
        for dialect in arguments.dialect or DIALECTS:
            print(f"upstream speaks {dialect}", flush=True)
            with gateway(model, dialect) as address:
                options = ["--base-url", address, "--key", KEY, "--model", MODEL, "--upstream", model]
                options += ["--only", arguments.only, *(["-v"] if arguments.verbose else [])]
                failed |= subprocess.run([sys.executable, script, *options], check=False).returncode != 0
    sys.exit(1 if failed else 0)


@contextmanager
def gateway(model: str, dialect: str) -> Iterator[str]:
    port = free_port()
    settings = {
        "GATEWAY_PORT": str(port),
        "GATEWAY_ADMIN_PORT": str(free_port()),
        "GATEWAY_DIALECT": dialect,
        "GATEWAY_UPSTREAM_URL": f"{model}/v1",
        "GATEWAY_UPSTREAM_API_KEY": UPSTREAM_KEY,
        "GATEWAY_KEYS": f"clients:{KEY}",
        "GATEWAY_SECRET": "clients:secret",
    }
    address = f"http://127.0.0.1:{port}"
    with running([sys.executable, "-m", "gateway", "serve"], f"{address}/readyz", settings):
        yield address


@contextmanager
def running(command: list[str], probe: str, settings: dict[str, str] | None = None) -> Iterator[None]:
    """Run a server while the block runs, which begins when the probe is answered. Raises RuntimeError if it is not."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment | (settings or {}), stdout=silent, stderr=silent) as process:
        try:
            wait_for(probe, process)
            yield
        finally:
            process.terminate()


def wait_for(probe: str, process: "subprocess.Popen[bytes]") -> None:
    ends_at = time.monotonic() + START_SECONDS
    while time.monotonic() < ends_at and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(probe, timeout=2):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args} does not answer at {probe}")


if __name__ == "__main__":
    main()
