"""A Redis Cluster of three primaries on loopback, each with a third of the slots."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.support.ports import free_port

SLOTS = 16384
NODES = 3
START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Node:
    port: int
    bus: int  # what the nodes talk to each other on
    process: asyncio.subprocess.Process

    def client(self) -> Redis:
        return Redis(host="127.0.0.1", port=self.port, protocol=2)

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def running_cluster(binary: Path) -> AsyncIterator[list[Node]]:
    """Its nodes, once each of them says that the cluster is whole."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-")))
        nodes: list[Node] = []
        for number in range(NODES):
            nodes.append(await start_node(binary, folder / str(number)))
            stack.push_async_callback(nodes[-1].stop)
        clients = [await stack.enter_async_context(node.client()) for node in nodes]
        async with asyncio.timeout(START_SECONDS):
            for number, client in enumerate(clients):
                await until_it_answers(client)
                first, last = SLOTS * number // NODES, SLOTS * (number + 1) // NODES - 1
                await client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            for node in nodes[1:]:
                await clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus)
            for client in clients:
                await until_whole(client)
        yield nodes


async def start_node(binary: Path, folder: Path) -> Node:
    await asyncio.to_thread(folder.mkdir)
    # Without its own bus port a node takes its port plus 10000, which may be none.
    port, bus = free_port(), free_port()
    options = {
        "bind": "127.0.0.1",
        "port": port,
        "cluster-enabled": "yes",
        "cluster-port": bus,
        "dir": folder,
        "appendonly": "yes",
        "save": "",
        "maxmemory": "256mb",
        "maxmemory-policy": "noeviction",
        "logfile": folder / "log",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return Node(port, bus, await asyncio.create_subprocess_exec(str(binary), *arguments))


async def until_it_answers(client: Redis) -> None:
    while True:
        try:
            await client.ping()
            return
        except RedisError:
            await asyncio.sleep(0.02)


async def until_whole(client: Redis) -> None:
    while True:
        state = await client.execute_command("CLUSTER", "INFO")
        nodes = await client.execute_command("CLUSTER", "NODES")
        if b"cluster_state:ok" in raw(state) and raw(nodes).count(b"connected") == NODES:
            return
        await asyncio.sleep(0.02)


def raw(reply: object) -> bytes:
    return reply if isinstance(reply, bytes) else str(reply).encode()
