"""An upstream that repeats the operator's secrets shows them to no client and in no log, wherever it repeats them."""

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import aiohttp
import anthropic
import orjson
import pytest

from gateway.simulator.loopback import Simulator
from gateway.simulator.script import Script, json_script, stream_script
from tests.e2e.conftest import Live, Process, front_end

# None of them looks like a key: only a comparison with the configured ones finds them.
UPSTREAM_KEY = "quiet-river/stone+bridge"
CLIENT_KEY = "client-phrase-of-words"
ADMIN_KEY = "admin-phrase-of-words"
SECRET = "signing-phrase-of-words"
PASSWORD = "redis-phrase-of-words"
SECRETS = (UPSTREAM_KEY, CLIENT_KEY, ADMIN_KEY, SECRET, PASSWORD)
VARIABLES = {
    "GATEWAY_UPSTREAM_API_KEY": UPSTREAM_KEY,
    "GATEWAY_KEYS": f"tests:{CLIENT_KEY}",
    "GATEWAY_ADMIN_KEY": ADMIN_KEY,
    "GATEWAY_SECRET": f"k1:{SECRET}",
    # No server listens there: the front end starts without it, since a secret is configured.
    "GATEWAY_CACHE_REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:1/0",
}
PATH = "/opt/server/main.py"
LINK = "https://docs.example.org/errors#keys"
STATUSES = (400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529)
BODY: dict[str, Any] = {"model": "m/echo", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}


def forms_of(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    yield b64encode(f"Bearer {secret}".encode()).decode()
    yield secret[: len(secret) * 4 // 5]
    yield secret[len(secret) // 5 :]


FORMS = [form for secret in SECRETS for form in forms_of(secret)]
ECHO = f"refused in {PATH}, see {LINK}: " + orjson.dumps({"headers": FORMS[:5]}).decode()
CHUNK = {"id": "g", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hello"}}]}


def error_scripts() -> Iterator[Script]:
    """Each place of an answer where an upstream may put its words."""
    for form in FORMS:
        yield json_script({"error": {"message": f"invalid key {form}", "code": 400}}, status=400)
    for status in STATUSES:
        yield json_script({"error": {"message": ECHO, "type": UPSTREAM_KEY, "code": status}}, status=status)
        yield json_script(
            {"error": {"message": ECHO, "metadata": {"raw": ECHO, "error_type": CLIENT_KEY}}}, status=status
        )
        yield json_script({"detail": [{"loc": ["body", UPSTREAM_KEY], "msg": ECHO}]}, status=status)
        yield json_script(ECHO.encode(), status=status)
        yield json_script(f"<html><title>{UPSTREAM_KEY}</title></html>".encode(), status=status)
    yield json_script(
        {"error": {"message": ECHO, "availability": {"fallback_models": [CLIENT_KEY, PASSWORD]}}}, status=503
    )
    yield json_script({"error": {"message": ECHO, "code": 502}})
    yield json_script({"object": "error", "message": ECHO})
    yield stream_script({"error": {"message": ECHO, "code": 502}})
    yield stream_script(CHUNK, {**CHUNK, "error": {"message": ECHO, "code": 502}})
    yield stream_script(CHUNK, {"choices": [{"index": 0, "delta": {}, "error": {"message": ECHO}}]})


def named_answer() -> Script:
    """A good answer of a model, a provider and an id that are secrets."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    named = {"id": UPSTREAM_KEY, "model": UPSTREAM_KEY, "provider": CLIENT_KEY}
    return json_script({**named, "choices": [choice], "usage": usage})


async def ask(live: Live, script: Script, *, stream: bool) -> tuple[int, str]:
    """The status, and everything that a client reads."""
    live.simulator.script(script)
    headers = {"x-api-key": CLIENT_KEY}
    async with (
        aiohttp.ClientSession() as session,
        session.post(live.url + "/v1/messages", json={**BODY, "stream": stream}, headers=headers) as answer,
    ):
        return answer.status, f"{dict(answer.headers)}\n{(await answer.read()).decode()}"


def leaked(text: str) -> list[str]:
    """Runs of twelve characters of a secret in any form, and the file's path."""
    runs = [form[at : at + 12] for form in FORMS for at in range(len(form) - 11)]
    return [run for run in {*runs, PATH} if run in text]


async def stopped(process: Process) -> str:
    """All that it has logged."""
    process.process.terminate()
    await asyncio.wait_for(process.process.wait(), 20)
    return process.raw.decode()


@pytest.mark.covers("Security · no reply and no log holds a secret")
async def test_no_reply_and_no_log_line_holds_what_an_upstream_repeats(simulator: Simulator) -> None:
    async with front_end(simulator, GATEWAY_MAX_ATTEMPTS="1", **VARIABLES) as (live, process):
        for script in error_scripts():
            for stream in (False, True):
                status, text = await ask(live, script, stream=stream)
                assert leaked(text) == [], (script.status, text)
                assert status >= 400 or "event: error" in text
        status, text = await ask(live, named_answer(), stream=False)
        assert (status, leaked(text)) == (200, [])
        assert leaked(await stopped(process)) == []


@pytest.mark.parametrize("status", [400, 403, 404, 413])
async def test_the_link_and_the_words_of_a_refusal_stay(live: Live, status: int) -> None:
    words = f"Unsupported schema '#/$defs/B', see {LINK}."
    live.simulator.script(json_script({"error": {"message": words}}, status=status))
    with pytest.raises(anthropic.APIStatusError) as caught:
        await live.client().messages.create(**BODY)
    assert caught.value.status_code == status
    assert words in str(caught.value)
