"""Stage of the batch bench: its own Redis, workers and client, and their figures by Linux and Redis."""

import http.client
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cases import VOCABULARY
from bench.measure import PROC, process_tree
from bench.targets import CLIENT_KEY, OURS, Stage, StartError, Target
from gateway.redis.embedded import find_binaries

PATH = "/v1/messages/batches"
HEADERS = {"x-api-key": CLIENT_KEY, "content-type": "application/json"}
PATIENCE = 600.0
POLL = 0.01
SEND_BYTES = 256 * 1024
SYSTEM_BYTES = 1200
TICKS = os.sysconf("SC_CLK_TCK")


# Redis


@dataclass(frozen=True, slots=True)
class Redis:
    url: str
    socket: Path

    def info(self, section: str) -> dict[str, str]:
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as answer:
            connection.connect(str(self.socket))
            connection.sendall(f"INFO {section}\r\n".encode())
            length = int(answer.readline()[1:])
            lines = answer.read(length).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def traffic(self) -> "Traffic":
        stats = self.info("stats")
        calls = self.info("commandstats").values()
        return Traffic(
            int(stats["total_reads_processed"]),
            sum(int(call.split("calls=")[1].split(",")[0]) for call in calls),
            int(stats["total_net_input_bytes"]) + int(stats["total_net_output_bytes"]),
            int(self.info("memory")["used_memory"]),
        )


@dataclass(frozen=True, slots=True)
class Traffic:
    """`reads` are the server's reads from its clients: round trips. `commands` include those inside scripts."""

    reads: int
    commands: int
    bytes: int
    memory: int


@contextmanager
def running_redis(directory: Path) -> Iterator[Redis]:
    """Start a Redis with an append-only file, which batches need. Raises StartError."""
    binaries = find_binaries()
    if not binaries:
        raise StartError("there is no redis-server or valkey-server here")
    path = directory / "redis.sock"
    options = {
        "port": "0",
        "unixsocket": str(path),
        "dir": str(directory),
        "appendonly": "yes",
        "save": "",
        "maxmemory": "2gb",
        "maxmemory-policy": "noeviction",
        "logfile": str(directory / "redis.log"),
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    process = subprocess.Popen([str(binaries[-1]), *arguments])
    try:
        _wait_for(path, process)
        yield Redis(f"unix://{path}", path)
    finally:
        process.kill()
        process.wait()


def _wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        time.sleep(POLL)
    raise StartError("the Redis server of the batch bench does not start")


# Workers


@contextmanager
def running_workers(number: int, redis: Redis, stage: Stage, slots: int = 64) -> Iterator[list[int]]:
    """The value are their process ids, once all of them claim."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")},
        **OURS,
        "GATEWAY_REDIS_URL": redis.url,
        "GATEWAY_UPSTREAM_URL": f"http://127.0.0.1:{stage.port}/api/v1",
        "GATEWAY_UPSTREAM_API_KEY": "x",
        "GATEWAY_UPSTREAM_FLAVOR": "openrouter",
        "GATEWAY_SECRET": "bench:secret",
        "GATEWAY_WORKER_ADMIN_PORT": "0",
        "GATEWAY_WORKER_SLOTS": str(slots),
        "GATEWAY_LOG_FORMAT": "json",
    }
    with ExitStack() as stack:
        logs = [stack.enter_context((stage.directory / f"worker-{index}.log").open("wb")) for index in range(number)]
        processes = [
            subprocess.Popen([sys.executable, "-m", "workers"], env=environment, stdout=log, stderr=log) for log in logs
        ]
        for process in processes:
            stack.callback(_end, process)
        for index, process in enumerate(processes):
            _wait_until_started(stage.directory / f"worker-{index}.log", process)
        yield [process.pid for process in processes]


def _wait_until_started(log: Path, process: "subprocess.Popen[bytes]") -> None:
    while b"worker_started" not in log.read_bytes():
        if process.poll() is not None:
            raise StartError(f"a worker ended; the end of its log:\n{log.read_text()[-2000:]}")
        time.sleep(POLL)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait()


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of these processes."""
    fields = [(PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split() for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields) / TICKS


class PeakMemory:
    """Largest increase of a process tree's memory since the object was made, in MiB."""

    def __init__(self, root: int) -> None:
        self._pids = process_tree(root)
        for pid in self._pids:
            (PROC / str(pid) / "clear_refs").write_text("5")  # the peak is now what is in use
        self._before = self._sum("VmRSS")

    def rise(self) -> float:
        return (self._sum("VmHWM") - self._before) / 1024

    def _sum(self, name: str) -> int:
        texts = [(PROC / str(pid) / "status").read_text() for pid in self._pids]
        return sum(int(text.split(f"{name}:")[1].split()[0]) for text in texts)


# The client


@dataclass(slots=True)
class Client:
    """Talks to one front end. `polls` are its questions after a batch: each one is a round trip of Redis too."""

    target: Target
    polls: int = 0

    def create(self, body: Path, **headers: str) -> str:
        """The id of the batch."""
        return str(self._ask("POST", PATH, body, headers)["id"])

    def has_ended(self, batch_id: str) -> bool:
        self.polls += 1
        return bool(self._ask("GET", f"{PATH}/{batch_id}")["processing_status"] == "ended")

    def wait(self, batch_id: str) -> dict[str, Any]:
        """The batch, once it has ended; every request in it must have succeeded."""
        give_up = time.monotonic() + PATIENCE
        while not self.has_ended(batch_id):
            if time.monotonic() > give_up:
                raise RuntimeError(f"a batch has not ended after {PATIENCE:g} s")
            time.sleep(POLL)
        batch: dict[str, Any] = self._ask("GET", f"{PATH}/{batch_id}")
        return batch

    def cancel(self, batch_id: str) -> None:
        self._ask("POST", f"{PATH}/{batch_id}/cancel")

    def result_lines(self, batch_id: str) -> int:
        connection = self.connect()
        connection.request("GET", f"{PATH}/{batch_id}/results", headers=HEADERS)
        answer, lines = connection.getresponse(), 0
        while piece := answer.read(SEND_BYTES):
            lines += piece.count(b"\n")
        connection.close()
        return lines

    def message(self, connection: http.client.HTTPConnection, body: bytes) -> None:
        """One live request."""
        connection.request("POST", "/v1/messages", body, HEADERS)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"a live request got {answer.status}: {said[:300]!r}")

    def _ask(self, method: str, path: str, body: Path | None = None, headers: dict[str, str] | None = None) -> Any:
        connection = self.connect()
        with ExitStack() as stack:
            file = stack.enter_context(body.open("rb")) if body else None
            length = {"content-length": str(body.stat().st_size)} if body else {}
            connection.request(method, path, file, {**HEADERS, **length, **(headers or {})})
            answer = connection.getresponse()
            said = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path} got {answer.status}: {said[:300]!r}")
        return json.loads(said)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.target.ports[0], timeout=PATIENCE, blocksize=SEND_BYTES)


def params(model: str, text: str, system: str = "") -> dict[str, Any]:
    asked = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}]}
    return {**asked, "system": system} if system else asked


def write_batch(path: Path, total: int, model: str, size: int = 0) -> Path:
    """A batch of `total` requests, each of about `size` bytes: a shared system prompt and separate text."""
    rng, words = random.Random(7), VOCABULARY.split()
    system = " ".join(rng.choices(words, k=SYSTEM_BYTES // 6)) if size else ""
    with path.open("w") as file:
        file.write('{"requests":[')
        for number in range(total):
            text = " ".join(rng.choices(words, k=max(2, (size - len(system)) // 6)))
            request = {"custom_id": f"item-{number}", "params": params(model, f"{number} {text}", system)}
            file.write(("," if number else "") + json.dumps(request, separators=(",", ":")))
        file.write("]}")
    return path
