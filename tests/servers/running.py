"""Start a server as a child process, wait until it answers, and end it."""

import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.launch import HOST, LITELLM_KEY, MODEL, ROOT, Command, Launch
from tests.servers.registry import SERVERS, Server
from tests.support.ports import free_port

POLL_SECONDS = 0.05
END_SECONDS = 20.0
NICENESS = 10
BEHIND_OPTIONS = frozenset({"context", "slots", "lenient"})  # of a proxy: they go to the server behind it


class StartError(Exception):
    """A server that did not start; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers. `url` is its origin; the OpenAI API is under `/v1`."""

    server: Server
    url: str
    model: str
    key: str
    log: Path | None = None
    start_seconds: float = 0.0
    process: subprocess.Popen[bytes] | None = None

    @property
    def api(self) -> str:
        return f"{self.url}/v1"


@contextmanager
def running(name: str, *, port: int | None = None, **options: Any) -> Iterator[Running]:
    """Install the server if need be and run it with these fields of Launch. Raises StartError."""
    server = SERVERS[name]
    unknown = options.keys() - server.options
    if unknown:
        raise StartError(f"{name} has no option {', '.join(sorted(unknown))}")
    with ExitStack() as stack:
        if server.behind and "behind" not in options:
            passed_on = {option: options.pop(option) for option in BEHIND_OPTIONS & options.keys()}
            options["behind"] = stack.enter_context(running(server.behind, **passed_on)).api
        if server.environment is not None:
            server.environment.install()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"dragoman-{name}-")))
        launch = Launch(port or free_port(), folder, **options)
        yield stack.enter_context(_started(server, launch))


@contextmanager
def _started(server: Server, launch: Launch) -> Iterator[Running]:
    begun = time.monotonic()
    log = launch.folder / "log"
    with child_process(server.command(launch), log) as process:
        url = f"http://{HOST}:{launch.port}"
        wait_until_answered(process, url + server.health, server.start_seconds, log)
        key = launch.key or (LITELLM_KEY if server.behind else "none")
        model = str(launch.folder / MODEL) if server.is_model_a_path else MODEL
        yield Running(server, url, model, key, log, time.monotonic() - begun, process)


@contextmanager
def child_process(command: Command, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in the background, at low priority, and end it with the context."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command.arguments,
            env={**os.environ, **command.variables},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its children, such as vLLM's engine, end with it
            preexec_fn=lambda: os.nice(NICENESS),
        )
    try:
        yield process
    finally:
        end(process)


def wait_until_answered(
    process: subprocess.Popen[bytes], url: str, seconds: float, log: Path, status: int = 200
) -> None:
    """Wait for a reply with this status. Raises StartError if the process ends or takes longer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if _status_of(url) == status:
            return
        time.sleep(POLL_SECONDS)
    tail = log.read_text(errors="replace")[-3000:]
    raise StartError(f"{url} did not answer within {seconds:.0f} s; the end of the server's log:\n{tail}")


def _status_of(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server and its children, by force if it does not end by itself."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            continue
