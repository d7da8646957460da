"""Rights of client keys, from the file and from the admin API, as their clients meet them."""

from asyncio import to_thread
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import pytest

from gateway.app import running
from gateway.settings import SettingsError, load_settings
from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import Live, serving, settings_for
from tests.support.waiting import until

HELLO: dict[str, Any] = {"model": "sim/text-3", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
OLD = {"anthropic-version": "2023-06-01"}  # the newest version has no sampling parameters
FILE = """
[[keys]]
name = "plain"
key = "plain-key"

[[keys]]
name = "bound"
tenant = "red"
key = "${BOUND_KEY}"
models = ["sim/text-*"]
max_tokens = 20
batches = false
cache = false
params = { temperature = { max = 0.5 }, top_k = { deny = true } }
data = "zdr"
rpm = 100

[[keys]]
name = "free"
tenant = "red"
key = "free-key"

[[keys]]
name = "slow"
sha256 = "6fa0d18ad9d40c2e55ddba9c9110a429590843f1c7096d894e1f3aa68c420cee"
rpm = 4

[limits."tenant:red"]
rpm = 50
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(FILE)
    monkeypatch.setenv("GATEWAY_CONFIG", str(path))
    monkeypatch.setenv("BOUND_KEY", "bound-key")
    return path


@pytest.fixture
async def live(file: Path, simulator: Simulator, redis_url: str) -> AsyncIterator[Live]:
    async with serving(simulator, redis_url=redis_url, keys=None, cache="on") as running:
        yield running


async def test_key_of_the_file_has_its_rights_and_no_more(live: Live) -> None:
    client = live.client(api_key="bound-key")
    raw = await client.messages.with_raw_response.create(
        **{**HELLO, "max_tokens": 90},
        extra_body={"temperature": 1.0},
        extra_headers={"x-gateway-cache": "use", "anthropic-version": "2023-06-01"},
    )
    sent = live.simulator.requests()[-1].json
    assert (sent["max_tokens"], sent["temperature"]) == (20, 0.5)
    assert sent["provider"] == {"zdr": True, "data_collection": "deny"}
    assert (raw.headers["x-gateway-cache"], raw.headers["x-gateway-cache-reason"]) == ("bypass", "key")
    assert raw.headers["anthropic-ratelimit-requests-limit"] == "50", "the tighter limit, of its tenant"
    for words, fields in (
        ("top_k is not allowed", {"extra_body": {"top_k": 3}, "extra_headers": OLD}),
        ("may not use the model", {"model": "sim/tool"}),
    ):
        with pytest.raises(anthropic.APIStatusError, match=words):
            await client.messages.create(**{**HELLO, **fields})
    with pytest.raises(anthropic.PermissionDeniedError, match="may not create batches"):
        await client.messages.batches.create(requests=[{"custom_id": "a", "params": HELLO}])  # type: ignore[list-item]
    assert (
        await live.client(api_key="plain-key").messages.create(**HELLO, extra_body={"top_k": 3}, extra_headers=OLD)
    ).type == "message"


@pytest.mark.parametrize(
    "fields",
    [{"fallbacks": [{"model": "sim/tool"}]}, {"models": ["sim/tool"]}, {"openrouter": {"models": ["sim/tool"]}}],
)
async def test_key_reaches_no_other_model_by_a_fallback_that_the_request_names(
    live: Live, fields: dict[str, Any]
) -> None:
    body = HELLO | fields
    headers = {"anthropic-beta": "server-side-fallback-2026-06-01"} if "fallbacks" in fields else {}
    path = "/v1/messages" if "fallbacks" in fields else "/v1/chat/completions"
    async with aiohttp.ClientSession(headers=headers) as session:
        for key, status in (("bound-key", 403), ("plain-key", 200)):
            async with session.post(live.url + path, json=body, headers={"x-api-key": key}) as response:
                assert response.status == status, await response.text()
    assert live.simulator.requests()[-1].json["models"] == ["sim/tool"]


ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": "sim/tool"}
ADDITION = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": ADVISOR}}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"openai": {"models": ["sim/tool"]}}, "may not use the model sim/tool"),
        ({"upstream": {"models": ["sim/tool"]}}, "may not use the model sim/tool"),
        ({"plugins": [{"id": "auto-router", "allowed_models": ["sim/*"]}]}, "may not use the model sim/*"),
        ({"preset": "mine"}, "may not use @preset/mine: a preset may ask any model"),
        ({"model": "sim/text-3@preset/mine"}, "may not use the model sim/text-3@preset/mine"),
        ({"tools": [ADVISOR]}, "may not use the model sim/tool"),
        ({"tools": [{"type": "openrouter:advisor"}]}, "tools.0: key bound may use certain models only"),
        (
            {"messages": [*HELLO["messages"], {"role": "system", "content": [ADDITION]}]},
            "may not use the model sim/tool",
        ),
    ],
)
async def test_key_reaches_no_other_model_by_anything_that_the_upstream_would_ask(
    live: Live, fields: dict[str, Any], words: str
) -> None:
    headers = {"anthropic-beta": "advisor-tool-2026-03-01,mid-conversation-tool-changes-2026-07-01"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for key, status in (("bound-key", 403), ("plain-key", 200)):
            sent = session.post(live.url + "/v1/messages", json=HELLO | fields, headers={"x-api-key": key})
            async with sent as response:
                assert response.status in (status, 404), await response.text()  # the simulator has no presets
                assert status == 200 or words in (await response.json())["error"]["message"]
    assert len(live.simulator.requests()) == 1


async def test_key_does_not_get_the_stored_answer_of_another_models_fallback(live: Live) -> None:
    body = HELLO | {"models": ["sim/tool"]}
    for key, status in (("free-key", 200), ("bound-key", 403)):
        async with (
            aiohttp.ClientSession(headers={"x-api-key": key}) as session,
            session.post(live.url + "/v1/messages", json=body) as response,
        ):
            assert response.status == status, await response.text()


async def test_console_lists_keys_of_the_file_as_configured(file: Path, simulator: Simulator, redis_url: str) -> None:
    admin = "admin-key-0123456789"
    async with (
        serving(simulator, redis_url=redis_url, keys=None, admin_key=admin) as live,
        aiohttp.ClientSession(headers={"x-api-key": admin}) as session,
        session.get(live.admin_url + "/api/keys") as response,
    ):
        listed = await response.text()
        rows = {row["name"]: row for row in (await response.json())["data"]}
    bound = rows["bound"]
    assert (bound["source"], bound["tenant"], bound["models"]) == ("file", "red", ["sim/text-*"])
    assert (bound["limits"], bound["created_at"], bound["hint"]) == ({"requests": 100}, None, "")
    assert "bound-key" not in listed


async def test_upstream_that_does_not_keep_the_rule_about_data_is_not_called(
    file: Path, simulator: Simulator, redis_url: str
) -> None:
    async with serving(simulator, redis_url=redis_url, keys=None, upstream_flavor="openai") as live:
        with pytest.raises(anthropic.PermissionDeniedError, match="needs an upstream with data = zdr"):
            await live.client(api_key="bound-key").messages.create(**HELLO)
        assert simulator.requests() == []


async def test_one_of_two_processes_without_redis_admits_half_and_a_changed_file_takes_keys_away(
    file: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_UPSTREAM_URL", simulator.url)  # the file is read again without the settings below
    async with running(settings_for(simulator, keys=None), processes=2) as addresses:
        live = Live("http://{}:{}".format(*addresses.client), simulator)
        statuses = [await status_of(live, "slow-key") for _ in range(6)]
        assert statuses == [200, 200, 429, 429, 429, 429]
        await to_thread(file.write_text, FILE.replace("plain-key", "other-key"))

        async def is_refused() -> bool:
            return await status_of(live, "plain-key") == 401

        await until(is_refused, seconds=20)
        assert await status_of(live, "other-key") == 200


async def status_of(live: Live, key: str) -> int:
    async with (
        aiohttp.ClientSession(headers={"x-api-key": key}) as session,
        session.post(live.url + "/v1/messages", json=HELLO) as response,
    ):
        return response.status


BROKEN = {
    "a key without a value": ('[[keys]]\nname = "a"', "expected a key, such as"),
    "an unknown name": ('[[keys]]\nname = "a"\nkey = "k"\nrmp = 1', "keys.rmp: unknown key"),
    "two keys of one name": ('[[keys]]\nname = "a"\nkey = "k"\n[[keys]]\nname = "a"\nkey = "l"', "two keys named"),
    "a model group that does not exist": (
        '[model_groups]\nopus = ["*opus*"]\n[limits.deployment.model_groups.haiku]\nrpm = 1',
        "limits.deployment.model_groups.haiku: there is no such group; [model_groups] has opus",
    ),
    "a model group without patterns": ("[model_groups]\nopus = []", "model_groups.opus: "),
    "a limit of a model group that is none": (
        '[model_groups]\na = ["b"]\n[limits.deployment.model_groups.a]\nmodels = ["x"]',
        "unknown key; known are budget_usd, concurrency,",
    ),
    "a scope that is none": ("[limits.everything]\nrpm = 1", "expected deployment, tenant:NAME or user:NAME"),
    "a rule that is none": ('[[keys]]\nname = "a"\nkey = "k"\nparams = { top_p = { most = 1 } }', 'unknown key "most"'),
    "a window without a rolling budget": (
        '[[keys]]\nname = "a"\nkey = "k"\nbudget_usd = 1\nwindow_seconds = 60',
        "a window in seconds is required for a rolling budget",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_wrong_key_of_the_file_stops_the_start_and_is_named(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, words = BROKEN[case]
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    monkeypatch.setenv("GATEWAY_CONFIG", str(path))
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert words in str(caught.value), caught.value
