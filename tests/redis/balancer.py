"""A TCP balancer before a primary and its replica: connections stay where they are, new ones lead to the primary."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tests.chaos.processes import Server
from tests.redis.servers import open_server
from tests.support.ports import free_port
from tests.workers.proxy import RedisProxy


@dataclass(slots=True)
class Balanced:
    """A proxy that leads to `primary`, and its `replica`."""

    proxy: RedisProxy
    primary: Server
    replica: Server

    @property
    def url(self) -> str:
        return self.proxy.url

    async def fail_over(self) -> None:
        """Let replica and primary change places. No write is lost, and no connection breaks."""
        async with self.primary.client() as old, self.replica.client() as new:
            await old.execute_command("FAILOVER", "TO", "127.0.0.1", self.replica.options["port"])
            # Both are replicas for a moment.
            while (await old.execute_command("ROLE"))[0] != b"slave" or (await new.execute_command("ROLE"))[
                0
            ] != b"master":
                pass
        self.primary, self.replica = self.replica, self.primary
        self.proxy.target = self.primary.url


@asynccontextmanager
async def balanced() -> AsyncIterator[Balanced]:
    async with AsyncExitStack() as stack:
        ports = [str(free_port()), str(free_port())]
        # No server is killed, and a primary that writes to a slow disk lets its replica wait for seconds.
        options = {"repl_diskless_sync_delay": "0", "repl_diskless_load": "on-empty-db", "appendonly": "no"}
        primary = await stack.enter_async_context(open_server(port=ports[0], **options))
        replica = await stack.enter_async_context(
            open_server(port=ports[1], replicaof=f"127.0.0.1 {ports[0]}", **options)
        )
        async with primary.client() as client:
            while (await client.info("replication")).get("slave0", {}).get("state") != "online":
                pass
        proxy = await stack.enter_async_context(RedisProxy(primary.url))
        yield Balanced(proxy, primary, replica)
