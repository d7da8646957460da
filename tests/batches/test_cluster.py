"""Batches on a Redis Cluster of three nodes: the same lives as on one server, each script in one slot."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.batches.lifecycle import request_counts
from gateway.batches.server import StoragePolicy
from gateway.errors import Unavailable
from gateway.redis.cluster import every_info
from gateway.redis.connections import cache_client, queue_client
from gateway.redis.embedded import wheel_binary
from gateway.redis.keys import Keys
from tests.batches.conftest import Bench, numbers
from tests.batches.test_faults import LIVES, Life, check, recover
from tests.redis.nodes import NODES, running_cluster

BATCHES = 12


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster_url() -> AsyncIterator[str]:
    binary = wheel_binary()
    assert binary is not None
    async with running_cluster(binary) as nodes:
        yield f"redis+cluster://127.0.0.1:{nodes[0].port}"


@pytest.fixture
async def cluster(cluster_url: str) -> AsyncIterator[Redis]:
    client = queue_client(cluster_url)
    yield client
    await client.aclose()


def bench_on(cluster: Redis, policy: StoragePolicy | None = None) -> Bench:
    return Bench(cluster, policy or StoragePolicy(), Keys(f"test{next(numbers)}:"))


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
@pytest.mark.covers("Batches · on a Redis cluster")
async def test_a_batch_lives_on_a_cluster_as_on_one_server(cluster: Redis, life: Life) -> None:
    bench = bench_on(cluster)
    await life(bench)
    for record in await recover(bench):
        await check(bench, record)


async def test_batches_are_spread_over_the_nodes_and_drained_from_all(cluster: Redis) -> None:
    bench = bench_on(cluster)
    batches = [await bench.create(20) for _ in range(BATCHES)]
    sizes = [await node_keys(cluster, number) for number in range(NODES)]
    assert all(sizes)
    assert await bench.drain() == 20 * BATCHES
    page = await bench.store.page("acme", limit=BATCHES)
    assert [record.id for record in page.records] == [batch.id for batch in reversed(batches)]
    for record in page.records:
        assert request_counts(record)["succeeded"] == 20
        assert len(await bench.lines(record)) == 20
        await bench.store.delete("acme", record.id)
    assert (await bench.store.page("acme")).records == ()


async def node_keys(cluster: Redis, number: int) -> int:
    infos = await every_info(cluster)
    assert len(infos) == NODES
    return int(infos[number].get("db0", {"keys": 0})["keys"])


async def test_a_batch_is_confirmed_by_the_disk_of_its_node(cluster: Redis) -> None:
    bench = bench_on(cluster, StoragePolicy(durability="fsync"))
    assert (await bench.server.check()).persistent
    for _ in range(NODES * 2):
        await bench.create(1)


async def test_a_cluster_without_replicas_confirms_no_replica(cluster: Redis) -> None:
    bench = bench_on(cluster, StoragePolicy(durability="replica", confirm_ms=100))
    with pytest.raises(Unavailable, match="durably"):
        await bench.create(1)


async def test_clients_that_share_a_cluster_see_the_same(cluster_url: str, cluster: Redis) -> None:
    bench = bench_on(cluster)
    batch = await bench.create(40)
    others = [queue_client(cluster_url) for _ in range(3)]
    benches = [Bench(other, keys=bench.keys) for other in others]
    assert sum(await asyncio.gather(*(one.drain(slots=4) for one in benches))) == 40
    await check(bench, await bench.store.retrieve("acme", batch.id))
    for other in others:
        await other.aclose()


async def test_the_cache_may_be_a_cluster_too(cluster_url: str) -> None:
    client = cache_client(cluster_url)
    await client.set("gw:c:{a}", b"1")
    assert await client.get("gw:c:{a}") == b"1"
    await client.aclose()


async def test_a_cluster_that_is_not_there_is_unavailable() -> None:
    client = queue_client("redis+cluster://127.0.0.1:9")
    with pytest.raises(Unavailable):
        await Bench(client).server.now()
    await client.aclose()
