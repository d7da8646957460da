"""`dragoman keys` lists the keys of GATEWAY_KEYS by the ids of the log, and prints results alone on standard output."""

import asyncio
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
from structlog.testing import capture_logs

from gateway.simulator.loopback import Simulator
from gateway.telemetry.exchange_line import exchange_fields
from tests.cli.conftest import dragoman
from tests.e2e.conftest import KEY, serving

BODY = {"model": "sim/echo", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


async def test_configured_keys_are_listed_by_tenant_and_the_id_of_the_log(redis_url: str) -> None:
    async with Simulator() as simulator, serving(simulator, redis_url=redis_url) as live:
        with capture_logs() as captured:
            url, headers = f"{live.url}/v1/messages", {"x-api-key": KEY}
            async with aiohttp.ClientSession() as session, session.post(url, json=BODY, headers=headers) as answer:
                assert answer.status == 200
        [line] = [exchange_fields(line["record"]) for line in captured if line["event"] == "exchange_finished"]
    variables = {"GATEWAY_KEYS": f"tests:{KEY}", "GATEWAY_SECRET": "t:secret", "GATEWAY_REDIS_URL": redis_url}
    ran = await dragoman("keys", "list", **variables)
    assert ran.out == f"{line['key']}  tenant tests  GATEWAY_KEYS\n"
    [shown] = (await dragoman("keys", "list", "--json", **variables)).lines[0]["data"]
    assert (shown["id"], shown["tenant"]) == (line["key"], "tests")
    assert KEY not in ran.all


async def test_with_the_embedded_server_standard_output_holds_the_result_alone() -> None:
    with TemporaryDirectory() as state:  # pytest's own is too long for a socket's path
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "keys", "list", "--json"),
            env={**os.environ, "GATEWAY_REDIS_URL": "embedded", "XDG_STATE_HOME": state},
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
    assert printed == b'{"data":[]}\n'


async def test_a_name_that_is_taken_has_no_hint_about_redis(redis_url: str) -> None:
    made = [await dragoman("keys", "create", "twice", GATEWAY_REDIS_URL=redis_url) for _ in range(2)]
    assert [(ran.status, "GATEWAY_REDIS_URL" in ran.all) for ran in made] == [(0, False), (1, False)]
    assert "There is a key named 'twice' already" in made[1].err


async def test_keys_of_two_tenants_with_one_name_are_told_apart(redis_url: str) -> None:
    variables = {"GATEWAY_REDIS_URL": redis_url}
    for tenant in ("red", "blue"):
        assert (await dragoman("keys", "create", "same", "--tenant", tenant, **variables)).status == 0
    refused = await dragoman("keys", "rotate", "same", **variables)
    assert refused.status == 1
    assert "Several tenants have a key named 'same': use blue/same, red/same, or its id." in refused.err
    assert "  same  tenant red" in (await dragoman("keys", "rotate", "red/same", **variables)).out
    limited = await dragoman("keys", "limit", "blue/same", "--rpm", "7", **variables)
    assert limited.out.endswith("  7 requests/min\n")
    assert (await dragoman("limits", "show", "key:blue/same", **variables)).out == "key:blue/same: 7 requests/min\n"
    await dragoman("keys", "archive", "red/same", **variables)
    assert "tenant blue" in (await dragoman("keys", "show", "same", **variables)).out
    assert "There is no key 'red/other'" in (await dragoman("keys", "show", "red/other", **variables)).err


async def test_limits_are_shown_by_scope_and_by_key(redis_url: str) -> None:
    variables = {"GATEWAY_REDIS_URL": redis_url}
    await dragoman("keys", "create", "ci", "--tenant", "red", "--rpm", "7", **variables)
    await dragoman("limits", "set", "tenant:red", "--rpm", "9", **variables)
    shown = [(await dragoman("limits", "show", scope, **variables)).out for scope in ("key:ci", "tenant:red")]
    assert shown == ["key:ci: 7 requests/min\n", "tenant:red: 9 requests/min\n"]
    assert "or key:NAME" in (await dragoman("limits", "show", "ci", **variables)).err
    assert "There is only ci." in (await dragoman("limits", "show", "key:nope", **variables)).err
    assert "`dragoman keys limit ci`" in (await dragoman("limits", "set", "key:ci", "--rpm", "8", **variables)).err


async def test_limits_of_a_model_group_are_set_and_removed_alone(redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[model_groups]\nopus = ["*opus*"]\n')
    variables = {"GATEWAY_REDIS_URL": redis_url, "GATEWAY_CONFIG": str(file)}
    await dragoman("keys", "create", "ci", "--rpm", "60", **variables)
    of_opus = ("--model-group", "opus")
    limited = await dragoman("keys", "limit", "ci", *of_opus, "--rpm", "5", "--budget-usd", "2", **variables)
    assert "60 requests/min, opus: 5 requests/min, $2.00 per month (UTC)" in limited.out
    general = await dragoman("keys", "limit", "ci", "--concurrency", "3", **variables)
    assert "3 at a time, opus: 5 requests/min, $2.00 per month (UTC)" in general.out
    assert (await dragoman("keys", "limit", "ci", *of_opus, **variables)).out.endswith("  3 at a time\n")
    scoped = await dragoman("limits", "set", "deployment", *of_opus, "--rpm", "9", "--json", **variables)
    assert scoped.lines[0]["model_groups"]["opus"]["limits"] == {"requests": 9}
    unknown = await dragoman("limits", "set", "deployment", "--model-group", "opsu", "--rpm", "9", **variables)
    assert "There is no model group 'opsu'. Did you mean opus?" in unknown.err


async def test_keys_of_the_file_are_listed_and_shown_as_configured(redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f'[[keys]]\nname = "filed"\nkey = "{KEY}"\ntenant = "red"\nrpm = 7\nmodels = ["claude-*"]\n')
    variables = {"GATEWAY_REDIS_URL": redis_url, "GATEWAY_CONFIG": str(file), "GATEWAY_KEYS": "blue:other-key"}
    ran = await dragoman("keys", "list", **variables)
    line = "key_file_filed  filed  tenant red  active  models claude-*  7 requests/min  gateway.toml\n"
    assert line in ran.out
    assert ran.out.endswith("  tenant blue  GATEWAY_KEYS\n")
    listed = (await dragoman("keys", "list", "--json", **variables)).lines[0]["data"]
    [shown] = [one for one in listed if one["name"] == "filed"]
    assert (shown["source"], shown["allowance"]["limits"], "digests" in shown) == (
        "gateway.toml",
        {"requests": 7},
        False,
    )
    for name in ("filed", "key_file_filed"):
        assert (await dragoman("keys", "show", name, **variables)).out == line
    assert "There is no key 'files'" in (await dragoman("keys", "show", "files", **variables)).err
    assert KEY not in ran.all + str(listed)


async def test_limits_of_every_scope_are_listed_with_a_warning_of_groups_that_are_gone(
    redis_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[model_groups]\nopus = ["*opus*"]\nsonnet = ["*sonnet*"]\n\n[limits."user:ann"]\nrpm = 3\n')
    variables = {"GATEWAY_REDIS_URL": redis_url, "GATEWAY_CONFIG": str(file)}
    await dragoman("keys", "create", "listed", "--tenant", "red", "--rpm", "7", **variables)
    await dragoman("keys", "create", "gone", "--rpm", "7", **variables)
    await dragoman("keys", "archive", "gone", **variables)
    for group in ("opus", "sonnet"):
        await dragoman("limits", "set", "tenant:red", "--model-group", group, "--rpm", "9", **variables)
    ran = await dragoman("limits", "list", **variables)
    assert "(listed): 7 requests/min\n" in ran.out
    assert "(gone)" not in ran.out
    assert "user:ann: 3 requests/min\n" in ran.out
    assert "sonnet: 9 requests/min" in ran.out
    assert "warning" not in ran.all
    file.write_text(file.read_text().replace("sonnet =", "haiku ="))
    ran = await dragoman("limits", "list", **variables)
    assert "warning: gateway.toml has no model group sonnet; its limits of tenant:red apply to nothing" in ran.err
    assert "opus" not in ran.err
    listed = {one["scope"]: one for one in (await dragoman("limits", "list", "--json", **variables)).lines[0]["data"]}
    assert (listed["tenant:red"]["unknown_model_groups"], listed["user:ann"]["unknown_model_groups"]) == (
        ["sonnet"],
        [],
    )
    assert "deployment" not in listed


async def test_an_unknown_group_of_spend_is_refused_with_all_that_there_are() -> None:
    refused, shown = await dragoman("spend", "--by", "team"), await dragoman("spend", "--help")
    assert refused.err.endswith(
        "→ choose from tenant, user, key, model, provider, day, session, agent, batch, upstream\n"
    )
    assert "upstream" in shown.out
