"""Answers of vendors' servers, as reports and documents show them, read by strict clients of each API."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from tests.e2e.vendor_answers import (
    channels,
    chat,
    engines,
    following,
    loose_messages,
    loose_responses,
    messages,
    more_refusals,
    overloads,
    proxies,
    recent,
    refusals,
    responses,
    shapes,
)
from tests.e2e.vendor_answers.client import open_client
from tests.e2e.vendor_answers.reading import READERS, REQUESTS
from tests.e2e.vendor_answers.script import Script
from tests.support.messages_server import MessagesServer, Scripted, messages_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABLES = {
    "chat": (
        *chat.STREAMS,
        *chat.WHOLES,
        *shapes.CHAT,
        *shapes.WHOLES,
        *engines.STREAMS,
        *engines.MARKUP,
        *proxies.STREAMS,
        *proxies.WHOLES,
        *recent.CHAT,
        *overloads.CHAT,
        *following.CHAT,
        *following.BROKEN,
        *channels.OTHERS,
    ),
    "gpt-oss": channels.GPT_OSS,
    "messages": (*messages.MESSAGES, *shapes.MESSAGES, *loose_messages.MESSAGES, *recent.MESSAGES, *overloads.MESSAGES),
    "responses": (
        *responses.STREAMS,
        *responses.WHOLES,
        *shapes.RESPONSES,
        *loose_responses.RESPONSES,
        *recent.RESPONSES,
        *overloads.RESPONSES,
    ),
}


def is_asked(dialect: str, script: Script, api: str, *, stream: bool) -> bool:
    """Return True if the answer fits such a request. Answers passed from chat to chat stay as they are."""
    if (dialect, api) != ("chat", "chat"):
        return True
    is_thinking_in_tags = "tags" in script.name and "calls" not in script.name
    return script.is_plain and not is_thinking_in_tags and (stream or script.is_json)


FORMS = {"JSON": False, "stream": True}
ANSWERS = [
    pytest.param(
        *(dialect, script, api, stream),
        id=f"{dialect}, {'JSON, ' if script.is_json else ''}{script.name}-{api}-{form}",
    )
    for dialect, table in TABLES.items()
    for script in table
    for api in REQUESTS
    for form, stream in FORMS.items()
    if is_asked(dialect, script, api, stream=stream)
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[MessagesServer]:
    async with messages_server() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(
    upstream: MessagesServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client(upstream.url, tmp_path_factory.mktemp("routes")) as session:
        yield session


async def ask(
    client: aiohttp.ClientSession, upstream: MessagesServer, script: Script, model: str, api: str, *, stream: bool
) -> tuple[int, bytes]:
    kind = "application/json" if script.is_json else "text/event-stream"
    upstream.script[:] = [Scripted(script.body, script.status, kind, dict(script.headers))] * 4
    path, body = REQUESTS[api]
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if api == "chat" and stream else {}
    async with client.post(path, json={**body, "model": model, "stream": stream, **options}) as response:
        data = await response.read()
    upstream.script.clear()
    return response.status, data


@pytest.mark.parametrize(("dialect", "script", "api", "stream"), ANSWERS)
async def test_answer_of_a_vendor_is_read_by_clients_of_each_api(
    client: aiohttp.ClientSession, upstream: MessagesServer, dialect: str, script: Script, api: str, stream: bool
) -> None:
    status, data = await ask(client, upstream, script, dialect, api, stream=stream)
    meant = script.meant
    if status != 200:
        assert meant.error, data
        assert meant.error != 529 or status == (529 if api == "messages" else 503), data
        assert orjson.loads(data)["error"]["message"]
        return
    read = READERS[api](data, stream=stream)
    if meant.error:
        assert read.error, read
        return
    assert not read.error, data
    stop = "max_tokens" if api != "messages" and meant.stop == "model_context_window_exceeded" else meant.stop
    assert (read.text, read.thinking.strip(), read.stop) == (meant.text, meant.thinking, stop), data
    assert read.calls == list(meant.calls)
    if meant.output is not None:
        assert read.output == meant.output


@pytest.mark.parametrize("stream", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("api", REQUESTS)
@pytest.mark.parametrize(
    "script", [*refusals.REFUSALS, *more_refusals.REFUSALS, *recent.REFUSALS], ids=lambda script: script.name
)
async def test_refusal_of_a_vendor_has_the_status_that_it_means(
    client: aiohttp.ClientSession, upstream: MessagesServer, script: Script, api: str, stream: bool
) -> None:
    status, data = await ask(client, upstream, script, "chat", api, stream=stream)
    told = orjson.loads(data)["error"]
    if api == "messages":
        assert status == script.meant.error, told
    assert status >= 400
    if "too long" in script.name or "exceed" in script.name:
        assert "prompt is too long" in told["message"] or told.get("code") == "context_length_exceeded", told
