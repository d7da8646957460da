"""The two upstreams of failover.toml: while the first one fails, in any way, clients see answers of the second one."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from gateway.simulator.loopback import Simulator
from gateway.simulator.script import json_script
from tests.e2e.conftest import KEY, Live
from tests.e2e.test_examples import EXAMPLES, serving_file

REQUESTS = 80
AT_ONCE = 8
MOST_CALLS = 30
EVENT_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


def whole(status: str, kind: str, body: bytes, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def trickle(writer: asyncio.StreamWriter) -> None:
    for byte in EVENT_STREAM:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.1)


async def keep_commenting(writer: asyncio.StreamWriter) -> None:
    writer.write(EVENT_STREAM)
    while True:
        writer.write(b": PROCESSING\n\n")
        await writer.drain()
        await asyncio.sleep(0.1)


async def say_nothing(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


CHUNK = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
ANSWERS: dict[str, bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]] = {
    "503": whole("503 Service Unavailable", "application/json", b'{"error":{"message":"busy"}}'),
    "429 without a hint": whole("429 Too Many Requests", "application/json", b'{"error":{"message":"slow down"}}'),
    "429 with a hint": whole("429 Too Many Requests", "application/json", b'{"error":{}}', "retry-after: 7\r\n"),
    "402": whole("402 Payment Required", "application/json", b'{"error":{"message":"no credit"}}'),
    "401": whole("401 Unauthorized", "application/json", b'{"error":{"message":"bad key"}}'),
    "404": whole("404 Not Found", "application/json", b'{"error":{"message":"no such model","code":404}}'),
    "closing at once": b"",
    "silent": say_nothing,
    "cutting before content": EVENT_STREAM + CHUNK,
    "ending without content": EVENT_STREAM + b"data: [DONE]\n\n",
    "trickling its header": trickle,
    "commenting without content": keep_commenting,
    "a web page": whole("200 OK", "text/html", b"<html><body>Welcome</body></html>"),
    "a redirect": whole("302 Found", "text/plain", b"", "location: http://127.0.0.1:9/\r\n"),
    "an error in a 200": whole("200 OK", "application/json", b'{"error":{"message":"oops","code":502}}'),
    "an error in a stream": EVENT_STREAM + b'data: {"error":{"message":"oops","code":502}}\n\n',
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
}


@dataclass(slots=True)
class Failing:
    """A server with one way to fail, which counts the chat requests that it gets."""

    answer: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]
    url: str = ""
    calls: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.calls += head.startswith(b"POST")
            if isinstance(self.answer, bytes):
                writer.write(self.answer)
                await writer.drain()
            else:
                await self.answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def failing(how: str) -> AsyncIterator[Failing]:
    server = Failing(ANSWERS[how])
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listener.close()


@asynccontextmanager
async def two_upstreams(
    monkeypatch: pytest.MonkeyPatch, path: Path, first: str, simulator: Simulator, more: str = ""
) -> AsyncIterator[Live]:
    monkeypatch.setenv("A_URL", first)
    monkeypatch.setenv("B_URL", simulator.url)
    monkeypatch.setenv("A_API_KEY", "sk-a")
    monkeypatch.setenv("B_API_KEY", "sk-b")
    text = (EXAMPLES / "failover.toml").read_text()
    (path / "gateway.toml").write_text(text.replace('key = "${A_API_KEY}"', f'key = "${{A_API_KEY}}"{more}'))
    async with serving_file(monkeypatch, path / "gateway.toml", simulator) as live:
        yield live


async def ask(session: aiohttp.ClientSession, live: Live, *, stream: bool) -> tuple[int, str, str]:
    body = {"model": "sim/echo", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    async with session.post(f"{live.url}/v1/messages", json=body, headers={"x-api-key": KEY}) as answer:
        text = await answer.text()
        assert "error" not in text
        return answer.status, answer.headers["x-gateway-upstream"], answer.headers["x-gateway-attempts"]


async def ask_often(live: Live) -> Counter[tuple[int, str]]:
    seen: Counter[tuple[int, str]] = Counter()
    async with aiohttp.ClientSession() as session, asyncio.timeout(30):
        for start in range(0, REQUESTS, AT_ONCE):
            asked = [ask(session, live, stream=bool(number % 2)) for number in range(start, start + AT_ONCE)]
            seen.update(answer[:2] for answer in await asyncio.gather(*asked))
    return seen


@pytest.mark.parametrize("how", ANSWERS)
async def test_clients_see_only_answers_while_the_first_upstream_is(
    how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, simulator: Simulator
) -> None:
    short = ", header_timeout = 0.3, first_content_timeout = 0.3"
    async with (
        failing(how) as first,
        two_upstreams(monkeypatch, tmp_path, first.url, simulator, short) as live,
    ):
        assert await ask_often(live) == {(200, "b"): REQUESTS}
        assert 0 < first.calls < MOST_CALLS


async def test_unreachable_first_upstream_is_seen_in_the_reply_and_in_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, simulator: Simulator
) -> None:
    async with failing("503") as gone:
        pass
    async with two_upstreams(monkeypatch, tmp_path, gone.url, simulator) as live:
        async with aiohttp.ClientSession() as session:
            for stream in (False, True):
                _, _, attempts = await ask(session, live, stream=stream)
                first, second = attempts.split(", ")
                assert first.startswith("a unreachable 0.")
                assert second.startswith("b 200 ")
        assert await ask_often(live) == {(200, "b"): REQUESTS}


async def test_reply_with_an_error_names_the_attempts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, simulator: Simulator
) -> None:
    async with failing("402") as first, two_upstreams(monkeypatch, tmp_path, first.url, simulator) as live:
        unknown = json_script({"error": {"message": "no such model", "code": 404}}, status=404)
        simulator.script(*[unknown] * 3)
        async with aiohttp.ClientSession() as session:
            body = {"model": "sim/echo", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
            answer = await session.post(f"{live.url}/v1/messages", json=body, headers={"x-api-key": KEY})
            assert (await answer.json())["error"]["type"] == "billing_error"
            assert answer.headers["x-gateway-attempts"].startswith("a 402 ")
            assert ", b 404 " in answer.headers["x-gateway-attempts"]
