"""A server is left when it is primary no more, is asked for nothing that it forbids, and says what it forbids."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.errors import Overloaded, StoreAway, Unavailable
from gateway.redis import scripts
from gateway.redis.connections import cache_client, queue_client
from gateway.redis.keys import Keys
from gateway.redis.server import RedisServer
from tests.redis.balancer import balanced
from tests.redis.servers import open_server

WRITE = ("SET", "gw:key", "value")


@pytest.mark.parametrize("way", ["pipeline", "script"])
async def test_a_demoted_primary_behind_a_balancer_is_left_within_the_first_write(way: str) -> None:
    async with balanced() as both, asyncio.timeout(20):
        server = RedisServer(queue_client(both.url))
        write = server.probe if way == "script" else lambda: server.pipeline([WRITE])
        await asyncio.gather(*(write() for _ in range(8)))  # eight connections
        await both.fail_over()
        await write()
        [role, *_], *_ = await server.pipeline([("ROLE",)])
        assert role == b"master"
        idle = server.redis.connection_pool._available_connections
        assert sum(connection.is_connected for connection in idle) == 1, "the others are closed"
        await server.redis.aclose()


async def test_a_connection_that_is_in_use_at_a_failover_is_not_used_again() -> None:
    async with balanced() as both, asyncio.timeout(20):
        server = RedisServer(queue_client(both.url))
        pool = server.redis.connection_pool
        in_use = await pool.get_connection()
        await server.probe()
        await both.fail_over()
        await server.probe()
        await pool.release(in_use)
        roles = await asyncio.gather(*(server.pipeline([("ROLE",)]) for _ in range(4)))
        assert [reply[0][0] for reply in roles] == [b"master"] * 4
        await server.redis.aclose()


async def test_the_caches_connections_leave_a_demoted_primary_too() -> None:
    async with balanced() as both, asyncio.timeout(20):
        client = cache_client(both.url, budget=5.0)
        await scripts.PROBE.run(client, ("key",), (1000,))
        await both.fail_over()
        await scripts.PROBE.run(client, ("key",), (1000,))
        assert (await client.execute_command("ROLE"))[0] == b"master"
        await client.aclose()


async def test_a_replica_without_another_primary_is_refused_with_its_reason() -> None:
    async with open_server(replicaof="127.0.0.1 1") as running, running.client() as client:
        with pytest.raises(StoreAway) as raised:
            await RedisServer(client).probe()
        assert raised.value.reason == "READONLY: the server is a replica and takes no writes"


# Rights


def url_of(user: str, url: str) -> str:
    return url.replace("unix://", f"unix://{user}:secret@")


async def user_with(admin: Redis, *rights: str) -> None:
    await admin.execute_command("ACL", "SETUSER", "app", "on", ">secret", *rights)


async def test_a_server_that_forbids_info_is_used_without_what_it_would_advise() -> None:
    async with open_server() as running, running.client() as admin:
        await user_with(admin, "~gw:*", "+@all", "-@dangerous")
        async with queue_client(url_of("app", running.url)) as client:
            server = RedisServer(client)
            with capture_logs() as lines:
                assert [await server.check(), await server.facts()] == [None, None]
            assert [line["event"] for line in lines] == ["redis_info_refused"]
            assert "'info'" in lines[0]["reason"]
            await server.probe()


@pytest.mark.parametrize("command", ["INFO", "CONFIG", "SCRIPT"])
async def test_a_server_whose_commands_were_renamed_away_is_used_all_the_same(command: str, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed.conf"
    renamed.write_text(f'rename-command {command} ""\n')
    async with open_server(include=str(renamed)) as running, running.client() as client:
        server = RedisServer(client)
        assert (await server.check() is None) is (command == "INFO")
        assert await server.now() > 0


async def test_keys_that_an_acl_forbids_are_named_by_their_prefix() -> None:
    async with open_server() as running, running.client() as admin:
        await user_with(admin, "~other:*", "+@all", "-@dangerous")
        async with queue_client(url_of("app", running.url)) as client:
            with pytest.raises(StoreAway) as raised:
                await RedisServer(client).probe()
            assert raised.value.refusal == "NOPERM"
            assert "start with gw:" in raised.value.reason
            await RedisServer(client, Keys("other:")).probe()


RIGHTS: dict[str, tuple[tuple[str, ...], str]] = {
    "no scripts": (("~*", "+@all", "-evalsha", "-eval"), "'evalsha'"),
    "no writes within scripts": (("~*", "+@all", "-set"), "'set'"),
}


@pytest.mark.parametrize(("rights", "reason"), RIGHTS.values(), ids=RIGHTS)
async def test_a_command_that_an_acl_forbids_is_named(rights: tuple[str, ...], reason: str) -> None:
    async with open_server() as running, running.client() as admin:
        await user_with(admin, *rights)
        async with queue_client(url_of("app", running.url)) as client:
            with pytest.raises(StoreAway) as raised:
                await RedisServer(client).probe()
            assert raised.value.refusal == "NOPERM"
            assert reason in raised.value.reason or reason == "'set'"


PASSWORDS: dict[str, tuple[str, str]] = {
    "none": ("", "NOAUTH: the server requires a password, and its URL has none"),
    "a wrong one": (":canary@", "WRONGPASS: the server does not accept the user name or password in its URL"),
}


@pytest.mark.parametrize(("login", "reason"), PASSWORDS.values(), ids=PASSWORDS)
async def test_a_wrong_or_missing_password_is_named_and_not_repeated(login: str, reason: str) -> None:
    async with open_server() as running, running.client() as admin:
        await admin.config_set("requirepass", "secret")
        async with queue_client(running.url.replace("unix://", f"unix://{login}")) as client:
            with pytest.raises(StoreAway) as raised:
                await RedisServer(client).probe()
        assert raised.value.reason == reason


async def test_a_full_server_is_overloaded_and_no_replica() -> None:
    async with open_server(maxmemory="1mb") as running, running.client() as client:
        with pytest.raises(Overloaded):
            await RedisServer(client).probe()


# What INFO says


class Hosted(Redis):
    """Answers INFO with these fields only."""

    fields: dict[str, Any]

    async def info(self, *sections: str, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        return self.fields


@pytest.mark.parametrize("version", ["5.0.14", "6.0", 6.0])
async def test_a_server_that_is_too_old_is_refused(version: Any) -> None:
    client = Hosted()
    client.fields = {"redis_version": version}
    with pytest.raises(Unavailable, match=r"need Redis 6\.2 or newer; this server is redis"):
        await RedisServer(client).check()


async def test_fields_that_a_hosted_server_leaves_out_of_info_are_no_problem() -> None:
    client = Hosted()
    client.fields = {"valkey_version": "8.0.1", "redis_version": "7.2-beta"}
    facts = await RedisServer(client).facts()
    assert facts is not None
    assert (facts.product, facts.version, facts.share_in_use) == ("valkey 8.0.1", (7, 2), 0.0)
