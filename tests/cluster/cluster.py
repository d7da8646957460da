"""The whole deployment on loopback: haproxy, front ends, workers, Redis with its append-only file, Prometheus, and the
simulator as upstream; and what is done to it: restarts, kills, another version in its place.

Ports are free ones, state lies in one temporary folder, and leaving the context ends every process by its id.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import aiohttp

from tests.chaos.processes import Server
from tests.cluster.programs import (
    ROOT,
    Balancer,
    Program,
    Prometheus,
    answering,
    find_program,
)
from tests.support.ports import free_port

CLIENT_KEY = "cluster-client-key"
LEASE_SECONDS = 5.0
COMMANDS = {"front": ("gateway", "serve"), "worker": ("workers",)}


class Failed(Exception):
    """The cluster did something that it must not do."""


@dataclass(slots=True)
class Post:
    """A place for a front end or a worker; who takes it over gets its ports. `source` is the version that fills it."""

    name: str
    role: Literal["front", "worker"]
    source: Path
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    program: Program | None = None


@dataclass(slots=True)
class Cluster:
    """`slots` are each worker's; `source` is the version that it starts with."""

    folder: Path
    fronts: int = 2
    workers: int = 2
    slots: int = 4
    batch_seconds: str = "0.2-0.4"
    source: Path = ROOT
    impatient: bool = False
    upstream_url: str = ""  # another than the simulator
    posts: dict[str, Post] = field(init=False)
    server: Server = field(init=False)
    balancer: Balancer = field(init=False)
    prometheus: Prometheus = field(init=False)
    upstream: Program = field(init=False)
    upstream_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        fronts = [Post(f"front-{number}", "front", self.source) for number in range(1, self.fronts + 1)]
        workers = [Post(f"worker-{number}", "worker", self.source) for number in range(1, self.workers + 1)]
        self.posts = {post.name: post for post in (*fronts, *workers)}
        (self.folder / "redis").mkdir()
        redis = Path(find_program("redis-server", "redis-server"))
        self.server = Server(redis, "everysec", folder=self.folder / "redis")
        self.balancer = Balancer(self.folder, {post.name: post.port for post in fronts})
        targets = {
            "dragoman-front": [post.admin_port for post in fronts],
            "dragoman-worker": [post.admin_port for post in workers],
            "haproxy": [self.balancer.metrics_port],
        }
        self.prometheus = Prometheus(self.folder, targets, impatient=self.impatient)
        command = (sys.executable, "-m", "tests.cluster.upstream", str(self.upstream_port))
        self.upstream = Program(command, self.folder / "upstream.log", {"CLUSTER_BATCH_SECONDS": self.batch_seconds})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.balancer.port}"

    def named(self, role: str) -> list[str]:
        return [post.name for post in self.posts.values() if post.role == role]

    def pids(self, role: str) -> list[int]:
        programs = [post.program for post in self.posts.values() if post.role == role]
        return [program.process.pid for program in programs if program and program.process]

    async def start(self) -> None:
        await self.upstream.start()
        await answering(self.upstream, f"http://127.0.0.1:{self.upstream_port}/calls")
        await self.server.start()
        await asyncio.gather(*(self.fill(name) for name in self.posts))
        await self.balancer.start()
        await self.prometheus.start()
        for name in self.named("front"):
            await self.balancer.sees(name)

    async def stop(self) -> None:
        await asyncio.gather(*(self.empty(name) for name in self.posts), return_exceptions=True)
        for program in (self.prometheus.program, self.balancer.program, self.upstream):
            await program.stop()
        await self.server.stop()

    # -- front ends and workers

    async def fill(self, name: str) -> None:
        """Start the post's process, of the version that its source says, and wait until it is ready."""
        post = self.posts[name]
        command = (sys.executable, "-m", *COMMANDS[post.role])
        post.program = Program(command, self.folder / f"{name}.log", self._variables(post), post.source)
        await post.program.start()
        await answering(post.program, f"http://127.0.0.1:{post.admin_port}/readyz")

    async def empty(self, name: str) -> None:
        """SIGTERM. Raises Failed when it does not end well."""
        program = self.posts[name].program
        if program is None:
            return
        self.posts[name].program = None
        status = await program.stop()
        if status != 0:
            raise Failed(f"{name} ended with status {status}")

    async def restart(self, name: str, source: Path | None = None) -> None:
        """Restart a process as a rolling deployment does: the next one follows when this one is seen to serve."""
        await self.empty(name)
        self.posts[name].source = source or self.posts[name].source
        await self.fill(name)
        await self._seen(name)

    async def kill(self, name: str) -> None:
        """kill -9, and a successor, as a supervisor starts one."""
        program = self.posts[name].program
        assert program is not None
        await program.kill()
        await self.fill(name)
        await self._seen(name)

    async def _seen(self, name: str) -> None:
        if self.posts[name].role == "front":
            await self.balancer.sees(name)

    # -- the others

    async def restart_redis(self) -> None:
        """SIGTERM: it writes what it has, and reads it back."""
        assert self.server.process is not None
        self.server.process.terminate()
        await self.server.process.wait()
        await self.server.start()

    async def kill_redis(self, away: float) -> None:
        await self.server.kill()
        await asyncio.sleep(away)
        await self.server.start()

    async def restart_prometheus(self) -> None:
        await self.prometheus.program.stop()
        await self.prometheus.start()

    async def calls(self) -> Mapping[str, int]:
        """Return the number of upstream calls for each batch item."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.upstream_port}/calls") as answer,
        ):
            found: dict[str, int] = await answer.json()
            return found

    def _variables(self, post: Post) -> dict[str, str]:
        return {
            "GATEWAY_PORT": str(post.port),
            "GATEWAY_ADMIN_PORT": str(post.admin_port),
            "GATEWAY_WORKER_ADMIN_PORT": str(post.admin_port),
            "GATEWAY_REDIS_URL": self.server.url,
            "GATEWAY_SECRET": "cluster:one-secret-for-all-replicas",
            "GATEWAY_KEYS": f"cluster:{CLIENT_KEY}",
            "GATEWAY_UPSTREAM_URL": self.upstream_url or f"http://127.0.0.1:{self.upstream_port}/api/v1",
            "GATEWAY_UPSTREAM_API_KEY": "any",
            "GATEWAY_UPSTREAM_FLAVOR": "openrouter",
            "GATEWAY_UPSTREAM_NAME": "simulator",
            "GATEWAY_WORKER_SLOTS": str(self.slots),
            "GATEWAY_WORKER_LEASE_SECONDS": str(LEASE_SECONDS),
        }


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Cluster]:
    """A cluster with these fields, all of it up."""
    with TemporaryDirectory(prefix="cluster-") as folder:
        cluster = Cluster(Path(folder), **options)
        try:
            await cluster.start()
            yield cluster
        finally:
            await cluster.stop()
