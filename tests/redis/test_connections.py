"""Each client keeps its timeouts, sends a command once, and mixes up no replies."""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis, RedisCluster, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.redis.connections import cache_client, open_connections, queue_client


@pytest.fixture
def short_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dg-") as name:
        yield Path(name)


@asynccontextmanager
async def silent_server(
    directory: Path, got_a_get: asyncio.Event | None = None
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answers what a client says at the start, and no GET. Its URL, and the commands it has read."""
    read: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                count = int((await reader.readuntil(b"\r\n"))[1:])
                words = []
                for _ in range(count):
                    size = int((await reader.readuntil(b"\r\n"))[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                read.append(words[0])
                if words[0] != b"GET":
                    writer.write(b"+OK\r\n")
                elif got_a_get is not None:
                    got_a_get.set()
        writer.close()

    server = await asyncio.start_unix_server(serve, directory / "silent.sock")
    async with server:
        yield f"unix://{directory}/silent.sock", read


@pytest.mark.parametrize("kind", ["queue", "cache"])
async def test_a_command_without_an_answer_is_given_up_and_not_sent_again(short_directory: Path, kind: str) -> None:
    async with silent_server(short_directory) as (url, read):
        client = cache_client(url) if kind == "cache" else queue_client(url, timeout=0.05)
        with pytest.raises(RedisTimeoutError):
            await client.get("a")
        await client.aclose()
    assert read.count(b"GET") == 1


async def test_the_cache_never_waits_for_a_free_connection(short_directory: Path) -> None:
    got_a_get = asyncio.Event()
    async with silent_server(short_directory, got_a_get) as (url, _):
        client = cache_client(url, connections=1)
        first = asyncio.ensure_future(client.get("a"))
        async with asyncio.timeout(5):
            await got_a_get.wait()
        with pytest.raises(MaxConnectionsError):
            await client.get("b")
        with pytest.raises(RedisTimeoutError):
            await first
        await client.aclose()


async def test_no_server_is_an_error_at_once(short_directory: Path) -> None:
    client = queue_client(f"unix://{short_directory}/nobody.sock")
    with pytest.raises(RedisConnectionError):
        await client.get("a")
    await client.aclose()


async def test_the_reply_to_a_cancelled_command_reaches_no_other_command(short_directory: Path) -> None:
    chance = random.Random(1)
    async with open_connections("embedded", directory=short_directory / "state") as connections:
        client = connections.queue
        await client.mset({f"key-{number}": number for number in range(100)})

        async def read(number: int) -> None:
            assert await client.get(f"key-{number}") == b"%d" % number

        for _ in range(20):
            reads = [asyncio.ensure_future(read(chance.randrange(100))) for _ in range(20)]
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            for task in chance.sample(reads, 10):
                task.cancel()
            outcomes = await asyncio.gather(*reads, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} <= {type(None), asyncio.CancelledError}


async def test_both_uses_can_share_the_embedded_server_or_have_their_own(short_directory: Path) -> None:
    async with open_connections("embedded", directory=short_directory / "one") as shared:
        await shared.queue.set("a", 1)
        assert await shared.cache.get("a") == b"1"
        url = f"unix://{short_directory}/one/server.sock"
        async with open_connections(url, "embedded", directory=short_directory / "two") as apart:
            assert await apart.queue.get("a") == b"1"
            assert await apart.cache.get("a") is None


@pytest.mark.parametrize("url", ["redis://host:6379/0", "rediss://u:p@host", "unix:///run/redis.sock?db=1"])
def test_urls_of_redis_are_accepted(url: str) -> None:
    assert isinstance(queue_client(url), Redis)


@pytest.mark.parametrize(("url", "secure"), [("redis+cluster://host:7000", False), ("rediss+cluster://u:p@host", True)])
def test_a_cluster_is_named_by_any_of_its_nodes(url: str, secure: bool) -> None:
    for client in (queue_client(url), cache_client(url)):
        assert isinstance(client, RedisCluster)
        [node] = client.nodes_manager.startup_nodes.values()
        assert node.host == "host"
        assert issubclass(node.connection_class, SSLConnection) is secure


@pytest.mark.parametrize("url", ["redis://127.0.0.1/3", "rediss://127.0.0.1", "unix:///tmp/none?db=1"])
@pytest.mark.parametrize("make", [queue_client, cache_client])
def test_commands_are_packed_by_hiredis_to_the_bytes_of_the_library(make: Callable[[str], Redis], url: str) -> None:
    pool = make(url).connection_pool
    connection = pool.make_connection()
    library = type(connection).__mro__[1]
    for command in (
        ("GET", "é"),
        ("CONFIG GET", "x"),
        ("SET", b"\x00\xff", -3, 10**18, 1.5, ""),
        ("EVAL", b"x" * 10_000),
    ):
        packed = connection.pack_command(*command)
        assert packed == [b"".join(library.pack_command(connection, *command))]
    assert isinstance(connection, library)
    assert (connection.db, connection.protocol) == (pool.connection_kwargs.get("db", 0), 2)
