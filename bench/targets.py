"""Measurable targets, and how each is started, asked and stopped.

A target is one proxy in one or more processes, each on its own port, all towards the same upstream stand-in. `direct`
is the stand-in itself, without a proxy.
"""

import http.client
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

from bench import chat_bodies
from bench.cases import write_bodies
from bench.load import Report, Shape, end_load, start_load
from bench.measure import process_tree
from bench.programs import program

PATH = "/v1/messages"
START_PATIENCE = 120.0  # seconds; some peers take half a minute to load
STOP_PATIENCE = 15.0  # seconds until what does not end is killed
ASK_AGAIN = 0.01  # seconds between two attempts at a target that is starting
PYTHON = shlex.quote(sys.executable)
OURS = {"PYTHONPATH": str(Path(__file__).parent.parent)}  # so that it runs from a checkout, in its own directory
CLIENT_KEY = "bench-client-key"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Recipe to start one target.

    In the command, the environment's values and the files' texts these are replaced by the run's own: $port,
    $admin_port,
    $upstream (a base URL that ends in /v1), $upstream_address (host:port), $dir (its own directory).
    """

    name: str
    command: str
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[str, ...] = (f"x-api-key: {CLIENT_KEY}", "anthropic-version: 2023-06-01")
    model_prefix: str = ""
    speaks_chat: bool = False  # its clients send chat completions

    @property
    def path(self) -> str:
        return chat_bodies.PATH if self.speaks_chat else PATH


class StartError(Exception):
    """A target ended, or gave no sound answer in time."""


def gateway_recipe(name: str = "gateway", module: str = "gateway", **more: str) -> Recipe:
    """The gateway as it is deployed: keys checked, one log line and all metrics per request, no Redis."""
    settings = {
        "PORT": "$port",
        "ADMIN_PORT": "$admin_port",
        "UPSTREAM_URL": "$upstream",
        "UPSTREAM_API_KEY": "x",
        "UPSTREAM_FLAVOR": "openrouter",
        "DIALECT": "chat",
        "AUTH": "keys",
        "KEYS": f"bench:{CLIENT_KEY}",
    }
    environment = OURS | {f"GATEWAY_{key}": value for key, value in settings.items()} | more
    return Recipe(name, f"{PYTHON} -m {module} serve", environment)


THREE = """\
[upstreams]
a = { url = "$upstream", key = "x", vendor = "openrouter", dialect = "chat" }
b = { url = "$upstream", key = "x", vendor = "openrouter", dialect = "chat" }
c = { url = "$upstream", key = "x", vendor = "openrouter", dialect = "chat" }
[routes]
"*" = ["a", "b", "c"]
[params]
temperature = { min = 0, max = 1 }
reasoning_effort = { max = "high" }
store = { deny = true }
"""


def routed_recipe(**more: str) -> Recipe:
    """The gateway with three candidates, of which the first answers, and rules for parameters."""
    one = gateway_recipe("routed", **more)
    named = {name: value for name, value in one.environment.items() if not name.startswith("GATEWAY_UPSTREAM_")}
    return replace(one, environment=named | {"GATEWAY_CONFIG": "gateway.toml"}, files={"gateway.toml": THREE})


BARE = Recipe("bare", f"{PYTHON} -m bench.bare $port http://$upstream_address", OURS)
DIRECT = Recipe("direct", "")
NGINX_CONFIG = """\
worker_processes 1;
worker_rlimit_nofile $file_limit;
daemon off;
master_process off;
pid $dir/nginx.pid;
error_log $dir/error.log crit;
events { worker_connections $file_limit; }
http {
    access_log off;
    client_body_temp_path $dir/body;
    proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;
    keepalive_requests 1000000;
    client_max_body_size 64m;
    client_body_buffer_size 4m;
    upstream stand_in { server $upstream_address; keepalive 512; }
    server {
        listen 127.0.0.1:$port backlog=4096;
        location / {
            proxy_pass http://stand_in;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }
    }
}
"""


def nginx_recipe() -> Recipe | None:
    """Return the target, or None if nginx is not installed."""
    executable = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if executable is None:
        return None
    return Recipe("nginx", f"{executable} -c $dir/nginx.conf -p $dir", files={"nginx.conf": NGINX_CONFIG})


@dataclass(frozen=True, slots=True)
class Stage:
    """The running upstream stand-in, and a directory for the files of the targets."""

    port: int
    pid: int
    directory: Path

    def open_connections(self) -> int:
        """Return the number of open connections, without the one that asks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/")
        said = connection.getresponse().read().decode()
        connection.close()
        return int(said.split('"connections":')[1].split(",")[0]) - 1


@dataclass(frozen=True, slots=True)
class Target:
    """A running target. `first_answer` is how many seconds after its start it gave the first sound answer."""

    recipe: Recipe
    directory: Path
    ports: tuple[int, ...]
    roots: tuple[int, ...]
    first_answer: float

    @property
    def name(self) -> str:
        return self.recipe.name

    def processes(self) -> list[int]:
        return [pid for root in self.roots for pid in process_tree(root)]

    def start(self, body: str, shape: Shape) -> "subprocess.Popen[bytes]":
        """Start a load of the body of that name; `bench.load.end_load` waits for its end."""
        file = self.directory / "bodies" / f"{body}.json"
        if self.recipe.speaks_chat and shape.expect is not None:
            shape = replace(shape, expect=chat_bodies.EXPECTED.get(shape.expect, shape.expect))
        return start_load(self.ports, self.processes(), self.recipe.path, self.recipe.headers, file, shape)

    def load(self, body: str, shape: Shape) -> Report:
        return end_load(self.start(body, shape))


@contextmanager
def running_stage() -> Iterator[Stage]:
    port = free_port()
    with TemporaryDirectory(prefix="bench-") as directory:
        process = subprocess.Popen([str(program("upstream")), str(port)])
        try:
            _wait_for_port(port)
            yield Stage(port, process.pid, Path(directory))
        finally:
            process.kill()
            process.wait()


@contextmanager
def running(recipe: Recipe, stage: Stage, instances: int = 1) -> Iterator[Target]:
    """Start the target, in `instances` processes, and stop it again. Raises StartError."""
    directory = stage.directory / recipe.name
    write_bodies(directory / "bodies", recipe.model_prefix, as_chat=recipe.speaks_chat)
    if recipe is DIRECT:
        yield Target(recipe, directory, (stage.port,), (stage.pid,), 0.0)
        return
    with ExitStack() as stack:
        ports, roots, seconds = [], [], []
        for number in range(instances):
            port, begin = free_port(), time.monotonic()
            process = stack.enter_context(_process(recipe, stage, directory / str(number), port))
            _wait_for_answer(process, recipe, directory, number, port)
            ports.append(port)
            roots.append(process.pid)
            seconds.append(time.monotonic() - begin)
        yield Target(recipe, directory, tuple(ports), tuple(roots), seconds[0])


@contextmanager
def _process(recipe: Recipe, stage: Stage, directory: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    address = f"127.0.0.1:{stage.port}"
    stands_for = {
        "port": port,
        "admin_port": free_port(),
        "upstream": f"http://{address}/api/v1",
        "upstream_address": address,
        "dir": directory,
        "file_limit": os.sysconf("SC_OPEN_MAX"),
    }

    def fill(text: str) -> str:
        return Template(text).safe_substitute(stands_for)

    for name, text in recipe.files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(fill(text))
    directory.mkdir(parents=True, exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    environment = inherited | {name: fill(value) for name, value in recipe.environment.items()}
    command = shlex.split(fill(recipe.command))
    if shutil.which(command[0]) is None:
        raise StartError(f"{recipe.name} needs {command[0]}, which is not installed")
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def _wait_for_answer(
    process: "subprocess.Popen[bytes]", recipe: Recipe, directory: Path, number: int, port: int
) -> None:
    body = (directory / "bodies" / "small.json").read_bytes()
    headers = dict(header.split(": ", 1) for header in recipe.headers) | {"Content-Type": "application/json"}
    give_up, seen = time.monotonic() + START_PATIENCE, "no connection"
    while time.monotonic() < give_up and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request("POST", recipe.path, body, headers)
            answer = connection.getresponse()
            said = answer.read()
            if answer.status == 200:
                return
            seen = f"status {answer.status}: {said[:300]!r}"
        except (OSError, http.client.HTTPException) as error:
            seen = str(error)
        finally:
            connection.close()
        time.sleep(ASK_AGAIN)
    log = (directory / str(number) / "log").read_text(errors="replace")[-2000:]
    ended = "" if process.poll() is None else f" and ended with {process.returncode}"
    raise StartError(f"{recipe.name} gave no sound answer ({seen}){ended}; the end of its log:\n{log}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End a target with all its processes, also one that has left the process group."""
    tree = process_tree(process.pid)
    process.terminate()
    try:
        process.wait(STOP_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in tree[1:]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for_port(port: int) -> None:
    give_up = time.monotonic() + 5
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > give_up:
                raise
            time.sleep(ASK_AGAIN)
