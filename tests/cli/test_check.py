"""`dragoman check`: where settings come from, what is reachable, what is off, and that no secret is ever shown."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.settings import Settings
from gateway.settings.effective import names_of, without_credentials
from gateway.simulator.loopback import Simulator
from tests.cli.conftest import Ran, dragoman
from tests.e2e.conftest import KEY, Live

CANARY = "canary-0123456789"


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(key=f"sk-{CANARY}") as running:
        yield running


def environment(simulator: Simulator, **changes: str) -> dict[str, str]:
    usual = {
        "GATEWAY_PORT": "0",
        "GATEWAY_ADMIN_PORT": "0",
        "GATEWAY_WORKER_ADMIN_PORT": "1",
        "GATEWAY_UPSTREAM_URL": simulator.url,
        "GATEWAY_UPSTREAM_FLAVOR": "openrouter",
        "OPENROUTER_API_KEY": f"sk-{CANARY}",
        "GATEWAY_KEYS": f"team-a:{CANARY},team-b:{CANARY}2",
    }
    return {**usual, **changes}


async def check(simulator: Simulator, **changes: str) -> tuple[int, dict[str, Any]]:
    ran = await dragoman("check", "--json", **environment(simulator, **changes))
    return ran.status, ran.lines[0]


def found(told: dict[str, Any], subject: str) -> dict[str, Any]:
    [finding] = [finding for finding in told["findings"] if finding["subject"] == subject]
    return dict(finding)


def setting(told: dict[str, Any], variable: str) -> tuple[Any, str]:
    [one] = [one for one in told["settings"] if one["variable"] == variable]
    return one["value"], one["source"]


async def test_a_sound_configuration_is_ok(simulator: Simulator) -> None:
    status, told = await check(simulator)
    assert (status, told["ok"]) == (0, True)
    assert found(told, "upstream key")["text"] == "accepted; it has no limit"
    assert found(told, "upstream")["text"].startswith("openrouter lists ")
    assert found(told, "access")["text"] == "2 client keys of 2 tenants"
    assert found(told, "batches")["level"] == "off"


async def test_every_setting_is_shown_with_its_source(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gateway.toml").write_text('idle_timeout = 7\nport = 1\n[aliases]\nquick = "sim/echo"\n')  # noqa: ASYNC240
    _, told = await check(simulator)
    assert {one["variable"] for one in told["settings"]} == {names_of(name)[0] for name in Settings.model_fields}
    assert told["file"] == "gateway.toml"
    assert setting(told, "GATEWAY_IDLE_TIMEOUT") == (7.0, "gateway.toml")
    assert setting(told, "GATEWAY_PORT") == (0, "GATEWAY_PORT")
    assert setting(told, "GATEWAY_ALIASES") == (["quick=sim/echo"], "gateway.toml")
    assert setting(told, "GATEWAY_UPSTREAM_API_KEY") == ("********", "OPENROUTER_API_KEY")
    assert setting(told, "GATEWAY_PING_SECONDS") == (10.0, "default")


async def test_lists_of_names_are_shown(simulator: Simulator) -> None:
    lists = {"GATEWAY_CACHE_ROUTES": "claude-*,fast", "GATEWAY_CACHE_KEYS": "acme", "GATEWAY_KEYS": "acme:k"}
    _, told = await check(simulator, **lists)
    assert setting(told, "GATEWAY_CACHE_ROUTES") == (["claude-*", "fast"], "GATEWAY_CACHE_ROUTES")
    assert setting(told, "GATEWAY_CACHE_KEYS") == (["acme"], "GATEWAY_CACHE_KEYS")
    assert setting(told, "GATEWAY_KEYS") == (["acme:********"], "GATEWAY_KEYS")


@pytest.mark.parametrize("form", [(), ("--all",), ("--json",)], ids=["usual", "all", "json"])
async def test_no_secret_is_shown(simulator: Simulator, form: tuple[str, ...]) -> None:
    secrets = {
        "GATEWAY_SECRET": f"k1:{CANARY}",
        "GATEWAY_REDIS_URL": f"redis://user:{CANARY}@127.0.0.1:1/0?password={CANARY}",
        "GATEWAY_APP_URL": f"https://app.example/?token={CANARY}",
    }
    ran = await dragoman("check", *form, **environment(simulator, **secrets))
    assert "GATEWAY_SECRET" in ran.out
    assert CANARY not in ran.out + ran.err


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:p@host:1/0", "redis://********@host:1/0"),
        ("unix:///run/redis.sock?db=1&password=x", "unix:///run/redis.sock?********"),
        ("redis+cluster://:p@host", "redis+cluster://********@host"),
        ("https://host/a@b", "https://host/a@b"),
    ],
)
def test_credentials_are_taken_out_of_an_address(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


@pytest.mark.parametrize(
    ("variables", "subject", "level", "text", "hint"),
    [
        pytest.param(
            {"OPENROUTER_API_KEY": "wrong"},
            "upstream",
            "error",
            "refuses the gateway's key (status 401)",
            "OPENROUTER_API_KEY",
            id="a wrong key",
        ),
        pytest.param(
            {"GATEWAY_UPSTREAM_URL": "http://127.0.0.1:1/v1"},
            "upstream",
            "error",
            "no connection to the upstream could be made",
            "GATEWAY_UPSTREAM_URL",
            id="an upstream that is away",
        ),
        pytest.param(
            {"GATEWAY_UPSTREAM_URL": "http://no-such-host.invalid/v1"},
            "upstream",
            "error",
            "no connection to the upstream could be made",
            "name lookup",
            id="an upstream without an address",
        ),
        pytest.param(
            {"GATEWAY_REDIS_URL": "redis://127.0.0.1:1"},
            "redis",
            "error",
            "Error ",
            "GATEWAY_REDIS_URL",
            id="a Redis that is away",
        ),
        pytest.param(
            {"GATEWAY_REDIS_URL": "redis://127.0.0.1:1"},
            "worker",
            "warning",
            "none answers on this machine",
            "dragoman worker",
            id="no worker",
        ),
        pytest.param({"GATEWAY_KEYS": ""}, "access", "error", "no client could log in", "GATEWAY_KEYS", id="no keys"),
        pytest.param(
            {"GATEWAY_AUTH": "off", "GATEWAY_HOST": "0.0.0.0"},
            "access",
            "warning",
            "everybody who reaches 0.0.0.0 is let in",
            "GATEWAY_KEYS",
            id="open to the network",
        ),
        pytest.param(
            {"GATEWAY_ADMIN_HOST": "0.0.0.0"},
            "admin listener",
            "warning",
            "listens on 0.0.0.0",
            "inside your network",
            id="an admin listener for everybody",
        ),
        pytest.param({}, "secret", "off", "each start makes its own", "GATEWAY_SECRET", id="no secret"),
        pytest.param(
            {"GATEWAY_MODEL_BIG": "sim/nothing"},
            "models",
            "warning",
            "'sim/nothing' is not listed; big, sonnet, opus point to it",
            "GATEWAY_MODEL_BIG",
            id="an alias for no model",
        ),
        pytest.param(
            {"GATEWAY_IDLE_TIMOUT": "5"},
            "GATEWAY_IDLE_TIMOUT",
            "warning",
            "no setting has this name",
            "is GATEWAY_IDLE_TIMEOUT meant?",
            id="a misspelt variable",
        ),
        pytest.param(
            {"GATEWAY_HOST": "203.0.113.1"},
            "client port",
            "error",
            "cannot listen on 203.0.113.1:0: ",
            "GATEWAY_PORT",
            id="an address of another machine",
        ),
    ],
)
async def test_problem_is_shown_with_what_to_do(
    simulator: Simulator, variables: dict[str, str], subject: str, level: str, text: str, hint: str
) -> None:
    status, told = await check(simulator, **variables)
    finding = found(told, subject)
    assert (finding["level"], finding["text"].startswith(text)) == (level, True), finding
    assert hint in finding["hint"]
    levels = {one["level"] for one in told["findings"]}
    assert status == (2 if "error" in levels else 1 if "warning" in levels else 0)


@pytest.mark.covers("Operation · wrong settings stop the start and are named")
async def test_a_value_that_cannot_be_used_is_named() -> None:
    ran = await dragoman("check", GATEWAY_PORT="many")
    assert ran.status == 2
    assert ran.err.startswith("dragoman: GATEWAY_PORT: expected a whole number")
    assert (await dragoman("check", "--json", GATEWAY_PORT="many")).lines[0]["message"].startswith("GATEWAY_PORT")


async def test_without_an_upstream_the_way_to_one_is_shown() -> None:
    ran = await dragoman("check", "--json", GATEWAY_PORT="0", GATEWAY_ADMIN_PORT="0", GATEWAY_AUTH="off")
    assert "OPENROUTER_API_KEY" in found(ran.lines[0], "upstream")["hint"]


async def test_a_port_that_another_program_has_is_reported(simulator: Simulator) -> None:
    with taken_port() as port:
        status, told = await check(simulator, GATEWAY_PORT=str(port))
    assert (status, found(told, "client port")["text"]) == (2, f"127.0.0.1:{port} is taken by another program")


async def test_a_running_gateway_is_distinguished_from_another_program(whole: Live, simulator: Simulator) -> None:
    port, admin_port = whole.url.rpartition(":")[2], whole.admin_url.rpartition(":")[2]
    status, told = await check(simulator, GATEWAY_PORT=port, GATEWAY_ADMIN_PORT=admin_port)
    assert (status, found(told, "client port")["text"]) == (0, f"127.0.0.1:{port} is in use by a running Dragoman")
    assert found(told, "admin port")["level"] == "ok"


async def test_a_redis_in_use_is_described(redis_url: str, simulator: Simulator) -> None:
    _, told = await check(simulator, GATEWAY_REDIS_URL=redis_url)
    redis = found(told, "redis")
    assert (redis["level"], "noeviction, data version 1" in redis["text"]) == ("ok", True)
    assert found(told, "secret")["level"] == "ok"


async def test_an_embedded_redis_is_not_started(simulator: Simulator, tmp_path: Path) -> None:
    _, told = await check(simulator, GATEWAY_REDIS_URL="embedded", XDG_STATE_HOME=str(tmp_path))
    assert found(told, "redis")["text"].startswith("embedded; not running now")
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


async def test_an_upstream_without_a_list_of_models_still_counts(simulator: Simulator) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="<html>")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = "http://{}:{}/v1".format(*runner.addresses[0][:2])
        status, told = await check(simulator, GATEWAY_UPSTREAM_URL=url, GATEWAY_UPSTREAM_FLAVOR="openai")
    finally:
        await runner.cleanup()
    assert (status, found(told, "upstream")["level"]) == (1, "warning")


async def test_on_a_terminal_only_what_was_set_is_listed(simulator: Simulator) -> None:
    usual: Ran = await dragoman("check", **environment(simulator))
    assert f"  GATEWAY_UPSTREAM_URL={simulator.url}\n" in usual.out
    assert "GATEWAY_PING_SECONDS" not in usual.out
    assert "GATEWAY_PING_SECONDS=10.0  (default)" in (await dragoman("check", "--all", **environment(simulator))).out
    assert KEY not in usual.out
