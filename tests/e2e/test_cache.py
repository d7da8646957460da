"""The prompt cache over real front ends and a real Redis: what clients get, and how often the upstream is called."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from gateway.redis.connections import queue_client
from gateway.redis.embedded import EmbeddedServer
from gateway.redis.keys import Keys
from gateway.simulator.loopback import Simulator
from gateway.simulator.script import Hold, json_script, stream_script
from tests.e2e.caching import (
    ADMIN_KEY,
    OTHER_KEY,
    body,
    caching,
    calls,
    chunk,
    completion,
    counted,
    held_json,
    held_stream,
    manage,
    post,
    stats,
)
from tests.e2e.conftest import KEY, Live, serving
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOOLS = [{"name": "get", "input_schema": {"type": "object"}}]
numbers = count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cache_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with EmbeddedServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_front(cache_url: str) -> AsyncIterator[Live]:
    async with Simulator() as simulator, caching(simulator, cache_url) as fronts:
        yield fronts[0]


@pytest.fixture
def front(shared_front: Live) -> Iterator[Live]:
    """A front end with an upstream without records of earlier tests."""
    shared_front.simulator.records.clear()
    yield shared_front
    assert shared_front.simulator.pending == 0


@pytest.fixture
def words() -> str:
    """Return the text of a prompt that is new to this server."""
    return f"prompt {next(numbers)}"


# Hits


@pytest.mark.parametrize("first", [False, True], ids=["stored from JSON", "stored from a stream"])
@pytest.mark.parametrize("second", [False, True], ids=["read as JSON", "read as a stream"])
@pytest.mark.covers("Prompt cache · hits in either form, without a call")
async def test_a_stored_answer_is_served_in_either_form_without_a_call(
    front: Live, words: str, first: bool, second: bool
) -> None:
    one = await post(front, words, stream=first)
    two = await post(front, words, stream=second)
    assert (one.outcome, two.outcome, calls(front.simulator)) == ("miss", "hit", 1)
    assert one.message["id"] != two.message["id"]
    assert one.headers["request-id"] != two.headers["request-id"]
    assert "age" not in one.headers
    assert int(two.headers["age"]) >= 0
    usage = {name: value for name, value in one.message.pop("usage").items() if name != "cost"}
    assert two.message.pop("usage") == usage
    assert {**two.message, "id": ""} == {**one.message, "id": ""}
    assert "no-store" in two.headers["cache-control"]
    assert "x-gateway-cost" not in two.headers


async def test_the_sdk_reads_hits_in_both_forms(front: Live, words: str) -> None:
    client = front.client(default_headers={"x-gateway-cache": "use"})
    created = await client.messages.create(**body(words))
    again = await client.messages.create(**body(words))
    async with client.messages.stream(**body(words)) as stream:
        streamed = await stream.get_final_message()
    assert calls(front.simulator) == 1
    assert created.content[0].text == again.content[0].text == streamed.content[0].text
    assert len({created.id, again.id, streamed.id}) == 3


async def test_aliases_of_one_model_share_their_answers_and_each_reads_its_own_name(front: Live, words: str) -> None:
    replies = [
        await post(front, words, model=name, stream=streams) for name in ("big", "opus") for streams in (False, True)
    ]
    assert [reply.outcome for reply in replies] == ["miss", "hit", "hit", "hit"]
    assert [reply.message["model"] for reply in replies] == ["big", "big", "opus", "opus"]


async def test_notes_are_repeated_with_every_hit(front: Live, words: str) -> None:
    one, two = [await post(front, words, inference_geo="eu") for _ in range(2)]
    assert two.outcome == "hit"
    assert one.headers["x-gateway-ignored"] == two.headers["x-gateway-ignored"] == "dropped:inference_geo"


async def test_a_hit_costs_nothing_and_reads_no_upstream_cache(front: Live, words: str) -> None:
    front.simulator.script(json_script(completion(words)))
    one, two = await post(front, words), await post(front, words)
    assert one.headers["x-gateway-cost"] == "0.5"
    assert "x-gateway-cost" not in two.headers
    assert two.message["usage"]["cache_read_input_tokens"] == 0
    assert one.message["usage"] == two.message["usage"]


async def test_a_thread_goes_on_from_a_cached_reply(front: Live, words: str) -> None:
    one, two = [await post(front, words, thread={"type": "create"}) for _ in range(2)]
    assert two.outcome == "hit"
    for reply in (one, two):
        thread = {"type": "continue", "previous_message_id": reply.message["id"]}
        assert (await post(front, "and now", None, thread=thread)).status == 200


# Who asks for it

# The header, fields of the request, and the outcomes of two such requests.
ASKED: dict[str, tuple[str | None, dict[str, Any], list[str]]] = {
    "nobody asks": (None, {}, ["bypass", "bypass"]),
    "the header asks": ("use", {}, ["miss", "hit"]),
    "temperature 0 does not ask": (None, {"temperature": 0}, ["bypass", "bypass"]),
    "the header refreshes": ("refresh", {}, ["miss", "miss"]),
    "no answer is new enough": ("max-age=0", {}, ["miss", "miss"]),
    "an answer is new enough": ("max-age=60", {}, ["miss", "hit"]),
    "tools need a word of their own": ("use", {"tools": TOOLS}, ["bypass", "bypass"]),
    "tools are asked for": ("use, tools", {"tools": TOOLS}, ["miss", "hit"]),
    "pre-warming is for the upstream": ("use", {"max_tokens": 0}, ["bypass", "bypass"]),
}

# Settings, and then as above.
CONFIGURED: dict[str, tuple[dict[str, Any], str | None, dict[str, Any], list[str]]] = {
    "a route asks": ({"cache_routes": "sim/*"}, None, {}, ["miss", "hit"]),
    "another route asks": ({"cache_routes": "sim/ech,other"}, None, {}, ["bypass", "bypass"]),
    "the tenant asks": ({"cache_keys": "tests"}, None, {}, ["miss", "hit"]),
    "another tenant asks": ({"cache_keys": "others"}, None, {}, ["bypass", "bypass"]),
    "temperature 0 asks where it is on": ({"cache": "on"}, None, {"temperature": 0}, ["miss", "hit"]),
    "another temperature does not": ({"cache": "on"}, None, {"temperature": 0.1}, ["bypass", "bypass"]),
    "the header asks where it is off": ({"cache": "off"}, "use", {}, ["bypass", "bypass"]),
    "the header declines what a route asks for": ({"cache_routes": "sim/*"}, "bypass", {}, ["bypass", "bypass"]),
    "tools are allowed": ({"cache_tools": "on"}, "use", {"tools": TOOLS}, ["miss", "hit"]),
}


@pytest.mark.parametrize("name", ASKED)
async def test_who_asks(front: Live, words: str, name: str) -> None:
    header, fields, expected = ASKED[name]
    assert [(await post(front, words, header, **fields)).outcome for _ in range(2)] == expected
    assert calls(front.simulator) == 2 - expected.count("hit")


@pytest.mark.parametrize("name", CONFIGURED)
async def test_what_the_operator_has_configured(front: Live, cache_url: str, words: str, name: str) -> None:
    settings, header, fields, expected = CONFIGURED[name]
    async with caching(front.simulator, cache_url, **settings) as (live,):
        assert [(await post(live, words, header, **fields)).outcome for _ in range(2)] == expected
    assert calls(front.simulator) == 2 - expected.count("hit")


REASONS: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "tools": ("use", {"tools": TOOLS}, "tools"),
    "tools in a stream": ("use", {"tools": TOOLS, "stream": True}, "tools"),
    "pre-warming": ("refresh", {"max_tokens": 0}, "prewarm"),
    "its own wish": ("bypass", {}, None),
    "none": ("use", {}, None),
}


@pytest.mark.parametrize("name", REASONS)
async def test_a_client_that_asks_and_bypasses_the_cache_gets_the_reason(front: Live, words: str, name: str) -> None:
    header, fields, expected = REASONS[name]
    assert (await post(front, words, header, **fields)).headers.get("x-gateway-cache-reason") == expected


@pytest.mark.parametrize(("header", "expected"), [("use", "off"), (None, None)])
@pytest.mark.parametrize("changes", [{"cache": "off"}, {"redis_url": None}], ids=["off", "without Redis"])
async def test_without_a_cache_a_client_that_asks_for_it_is_notified(
    front: Live, cache_url: str, words: str, changes: dict[str, Any], header: str | None, expected: str | None
) -> None:
    async with caching(front.simulator, cache_url, **changes) as (live,):
        reply = await post(live, words, header)
    assert (reply.outcome, reply.headers.get("x-gateway-cache-reason")) == ("bypass", expected)


async def test_a_refresh_is_what_others_read_afterwards(front: Live, words: str) -> None:
    front.simulator.script(json_script(completion("old")), json_script(completion("new")))
    replies = [await post(front, words, header) for header in ("use", "refresh", "use")]
    assert [(reply.outcome, reply.said) for reply in replies] == [("miss", "old"), ("miss", "new"), ("hit", "new")]


async def test_an_unknown_header_is_refused_with_what_is_allowed(front: Live, words: str) -> None:
    reply = await post(front, words, "yes please")
    assert reply.status == 400
    assert "use, refresh, bypass or max-age" in reply.message["error"]["message"]
    assert calls(front.simulator) == 0


# What is never kept

BROKEN = {
    "an error": json_script({"error": {"message": "no", "code": 400}}, status=400),
    "an error in a 200": json_script({"error": {"message": "no", "code": 502}}),
    "an answer that ran into max_tokens": json_script(completion(finish_reason="length")),
    "a refusal": json_script(completion(finish_reason="content_filter", native_finish_reason="refusal")),
    "nothing": json_script(completion("")),
    "a search's findings": json_script(
        completion(
            message={
                "annotations": [{"type": "url_citation", "url_citation": {"url": "https://x.example/", "title": "x"}}]
            }
        )
    ),
}
BROKEN_STREAMS = {
    "a stream without an end": stream_script(chunk({"content": "half"})),
    "a stream that ends in an error": stream_script(
        chunk({"content": "half"}), {"error": {"message": "no", "code": 502}}
    ),
    "a stream that ran into max_tokens": stream_script(
        chunk({"content": "half"}, finish_reason="length"), b"data: [DONE]\n\n"
    ),
}


@pytest.mark.parametrize("name", [*BROKEN, *BROKEN_STREAMS])
@pytest.mark.covers("Prompt cache · failures and cut answers are not kept")
async def test_never_kept(front: Live, words: str, name: str) -> None:
    front.simulator.script((BROKEN | BROKEN_STREAMS)[name])
    await post(front, words, stream=name in BROKEN_STREAMS)
    second = await post(front, words)
    assert (second.status, second.outcome, calls(front.simulator)) == (200, "miss", 2)


async def test_a_tool_call_is_kept_only_where_tools_are_asked_for(front: Live, words: str) -> None:
    fields = {"model": "sim/tool", "tools": TOOLS}
    replies = [await post(front, words, header, **fields) for header in ("use", "tools", "tools", "use")]
    assert [reply.outcome for reply in replies] == ["bypass", "miss", "hit", "bypass"]
    assert replies[2].message["content"] == replies[1].message["content"]
    assert replies[2].message["content"][0]["type"] == "tool_use"


async def test_an_answer_above_the_largest_entry_is_delivered_and_not_kept(
    front: Live, cache_url: str, words: str
) -> None:
    async with caching(front.simulator, cache_url, cache_entry_bytes=1024) as (live,):
        front.simulator.script(json_script(completion(os.urandom(4000).hex())))
        first, second = await post(live, words), await post(live, words)
    assert len(first.said) == 8000
    assert second.outcome == "miss"


# Tenants


@pytest.mark.covers("Prompt cache · tenants are apart")
async def test_a_tenant_never_gets_anothers_answer_sees_its_entries_or_clears_them(front: Live, words: str) -> None:
    for streams in (False, True):
        front.simulator.script(json_script(completion("of tests")), json_script(completion("of others")))
        for key, said in ((KEY, "of tests"), (OTHER_KEY, "of others")):
            first, second = (
                await post(front, words, "refresh", key=key),
                await post(front, words, key=key, stream=streams),
            )
            assert (first.said, second.said, second.outcome) == (said, said, "hit")
    mine = (await post(front, words)).headers["x-gateway-cache-key"]
    theirs = (await post(front, words, key=OTHER_KEY)).headers["x-gateway-cache-key"]
    assert mine != theirs
    before = await stats(front)
    _, cleared = await manage(front, "POST", f"/v1/messages/cache/clear?key={mine}", key=OTHER_KEY)
    assert cleared["entries_cleared"] == 0
    assert (await manage(front, "POST", "/v1/messages/cache/clear", key=OTHER_KEY))[1]["entries_cleared"] >= 1
    assert (await stats(front))["total_entries"] == before["total_entries"]
    assert (await stats(front, OTHER_KEY))["total_entries"] == 0
    assert (await post(front, words)).outcome == "hit"


# Single flight


async def test_equal_requests_of_one_front_end_make_one_call(front: Live, words: str) -> None:
    gate = asyncio.Event()
    front.simulator.script(held_json(gate, completion("once")))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(post(front, words, stream=number % 2 == 1)) for number in range(40)]
        await front.simulator.received()
        gate.set()
    replies = [task.result() for task in tasks]
    assert calls(front.simulator) == 1
    assert Counter(reply.outcome for reply in replies) == {"miss": 1, "wait": 39}
    assert {reply.said for reply in replies} == {"once"}
    assert len({reply.message["id"] for reply in replies}) == 40
    assert sum("x-gateway-cost" in reply.headers or "cost" in reply.message["usage"] for reply in replies) <= 1


async def test_a_follower_reads_a_stream_as_it_arrives(front: Live, words: str) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    front.simulator.script(held_stream(*gates))
    headers = {"x-gateway-cache": "use"}
    client = front.client(default_headers=headers)
    async with client.messages.stream(**body(words)) as leader:
        texts = leader.text_stream
        assert await anext(texts) == "word "
        async with client.messages.stream(**body(words)) as follower:
            followed = follower.text_stream
            assert await anext(followed) == "word ", "what was told before it came"
            gates[0].set()
            assert [await anext(texts), await anext(followed)] == ["word ", "word "]
            gates[1].set()
            messages = [await leader.get_final_message(), await follower.get_final_message()]
    assert [message.content[0].text for message in messages] == ["word word word "] * 2
    assert messages[0].id != messages[1].id
    assert calls(front.simulator) == 1


@pytest.mark.parametrize("leaver", ["the first", "the second"])
async def test_a_client_that_disconnects_leaves_the_call_to_the_others(front: Live, words: str, leaver: str) -> None:
    gate = asyncio.Event()
    front.simulator.script(held_stream(gate))
    one = asyncio.create_task(post(front, words, stream=True))
    record = await front.simulator.received()
    waits = counted("wait")
    two = asyncio.create_task(post(front, words, stream=True))
    await until(lambda: counted("wait") == waits + 1)
    gone, left = (one, two) if leaver == "the first" else (two, one)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    gate.set()
    assert (await left).said == "word word "
    assert not record.closed_by_client
    assert (await post(front, words)).outcome == "hit"


async def test_the_call_is_broken_off_when_the_last_one_hangs_up(front: Live, words: str) -> None:
    front.simulator.script(held_stream(asyncio.Event()))
    tasks = [asyncio.create_task(post(front, words, stream=True)) for _ in range(3)]
    record = await front.simulator.received()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(1):
        await record.closed.wait()
    assert calls(front.simulator) == 1


async def test_a_failure_is_everybodys_and_the_next_request_tries_again(front: Live, words: str) -> None:
    gate = asyncio.Event()
    front.simulator.script(held_json(gate, {"error": {"message": "busy", "code": 429}}, 429))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(post(front, words, stream=number > 1)) for number in range(4)]
        await front.simulator.received()
        gate.set()
    assert [task.result().status for task in tasks] == [429] * 4
    assert len({task.result().message["request_id"] for task in tasks}) == 4
    assert (await post(front, words)).outcome == "miss"
    assert calls(front.simulator) == 2


async def test_an_error_in_mid_stream_reaches_each_follower_with_its_own_request_id(front: Live, words: str) -> None:
    gate = asyncio.Event()
    front.simulator.script(
        stream_script(chunk({"content": "half"}), Hold(gate), {"error": {"message": "no", "code": 502}})
    )
    async with asyncio.TaskGroup() as group:
        first = group.create_task(post(front, words, stream=True))
        await front.simulator.received()
        waits = counted("wait")
        others = [group.create_task(post(front, words, stream=streams)) for streams in (True, False)]
        await until(lambda: counted("wait") == waits + 2)
        gate.set()
    replies = [first.result(), *(task.result() for task in others)]
    for reply in replies[:2]:
        assert reply.message["type"] == "error"
        assert reply.message["request_id"] == reply.headers["request-id"]
    assert replies[2].status == 502
    assert calls(front.simulator) == 1


# Management


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    ("query", "cleared", "left"),
    [
        ("", 3, []),
        ("?model=big", 2, ["sim/echo"]),
        ("?model=sim/echo", 1, ["big", "sonnet"]),
        ("?key={key}", 1, ["sonnet", "sim/echo"]),
    ],
    ids=["all", "a model by one of its names", "another model", "one entry"],
)
@pytest.mark.covers("Prompt cache · statistics, clearing, cleanup")
async def test_clearing(front: Live, words: str, method: str, query: str, cleared: int, left: list[str]) -> None:
    await manage(front, "POST", "/v1/messages/cache/clear")
    models = {"big": words, "sonnet": words + " two", "sim/echo": words}
    keys = {
        model: (await post(front, said, model=model)).headers["x-gateway-cache-key"] for model, said in models.items()
    }
    status, told = await manage(front, method, "/v1/messages/cache/clear" + query.format(key=keys["big"]))
    assert (status, told["success"], told["entries_cleared"]) == (200, True, cleared)
    hits = [model for model, said in models.items() if (await post(front, said, model=model)).outcome == "hit"]
    assert hits == left


async def test_an_answer_that_was_asked_for_before_a_clearing_is_not_kept(front: Live, words: str) -> None:
    gate = asyncio.Event()
    front.simulator.script(held_json(gate, completion("old")))
    first = asyncio.create_task(post(front, words))
    await front.simulator.received()
    await manage(front, "POST", "/v1/messages/cache/clear")
    gate.set()
    assert (await first).said == "old"
    again = await post(front, words)
    assert again.outcome in ("miss", "wait")  # for the first one's lock, which is released after its answer
    assert again.said != "old"


async def test_cleanup_reports_how_many_entries_had_expired(front: Live, cache_url: str, words: str) -> None:
    await manage(front, "POST", "/v1/messages/cache/clear")
    key = (await post(front, words)).headers["x-gateway-cache-key"]
    redis = queue_client(cache_url)
    await redis.unlink(Keys().cache_entry(key))  # as if its time had passed
    await redis.aclose()
    _, told = await manage(front, "POST", "/v1/messages/cache/cleanup")
    assert told["expired_entries_removed"] == 1
    assert (await stats(front))["total_entries"] == 0


MANAGEMENT = [("GET", "stats"), ("POST", "clear"), ("DELETE", "clear"), ("POST", "cleanup")]
OPERATORS = [("GET", "/cache/stats"), ("POST", "/cache/clear")]


@pytest.mark.parametrize(("method", "name"), MANAGEMENT)
async def test_management_needs_a_key(front: Live, method: str, name: str) -> None:
    assert (await manage(front, method, f"/v1/messages/cache/{name}", key=None))[0] == 401


async def test_without_a_cache_or_an_admin_key_management_says_so(front: Live) -> None:
    async with serving(front.simulator) as live:
        for method, name in MANAGEMENT:
            status, told = await manage(live, method, f"/v1/messages/cache/{name}")
            assert (status, told["error"]["type"]) == (503, "api_error")
        for method, name in OPERATORS:
            assert (await manage(live, method, name, key=ADMIN_KEY, admin=True))[0] == 403
        assert (await post(live, "hello")).outcome == "bypass"


async def test_operators_clear_any_tenant(front: Live, words: str) -> None:
    for key in (KEY, OTHER_KEY):
        await post(front, words, key=key)
    _, all_of_them = await manage(front, "GET", "/cache/stats", key=ADMIN_KEY, admin=True)
    assert all_of_them["total_entries"] >= 2
    _, told = await manage(front, "GET", "/cache/stats?tenant=others", key=ADMIN_KEY, admin=True)
    assert told["cache_stats"]["total_entries"] >= 1
    assert (await manage(front, "POST", "/cache/clear?tenant=others", key=ADMIN_KEY, admin=True))[0] == 200
    assert [(await post(front, words, key=key)).outcome for key in (KEY, OTHER_KEY)] == ["hit", "miss"]
    assert (await manage(front, "POST", "/cache/clear", key=ADMIN_KEY, admin=True))[1]["entries_cleared"] >= 2
    _, audit = await manage(front, "GET", "/v1/organizations/audit", key=ADMIN_KEY, admin=True)
    assert [entry["details"] for entry in audit["data"] if entry["action"] == "cache_cleared"][-2:] == [
        {"tenant": "others"},
        {},
    ]


@pytest.mark.parametrize(("method", "path"), OPERATORS)
async def test_only_operators_manage_all_tenants(front: Live, method: str, path: str) -> None:
    statuses = [(await manage(front, method, path, key=key, admin=True))[0] for key in (None, KEY)]
    assert statuses == [401, 401]


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
async def test_clients_of_openais_apis_share_the_cache_over_json_and_streams(shared_front: Live, path: str) -> None:
    words = f"cached for {path}"
    prompt = {"input": words} if path == "responses" else {"messages": [{"role": "user", "content": words}]}
    told = []
    for streams in (False, False, True):
        body = {"model": "sim/echo", "max_tokens": 100, "stream": streams, **prompt}
        headers = {"x-api-key": KEY, "x-gateway-cache": "use"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{shared_front.url}/v1/{path}", json=body, headers=headers) as response,
        ):
            assert response.status == 200
            assert words.split()[0] in await response.text()
            told.append(response.headers["x-gateway-cache"])
    assert told == ["miss", "hit", "hit"]
