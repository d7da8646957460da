"""Every reply that is not a 2xx leaves one log line with its id, and the line has the cause and the party at fault."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from gateway.simulator.loopback import Simulator
from gateway.simulator.script import EVENT_STREAM, HangUp, Hold, Script, json_script, stream_script
from gateway.upstream.health.causes import CAUSES, CLIENT_LEFT
from tests.e2e.conftest import KEY, Live, serving

CANARY = "a word of the upstream \u202e\n canary-7"
PROMPT = {"model": "sim/echo", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
CONTENT = {"choices": [{"index": 0, "delta": {"content": "half"}}], "provider": "Hyperion"}


@dataclass(frozen=True, slots=True)
class Failure:
    script: Script
    cause: str
    origin: str
    level: str
    upstream_status: int | None = None
    provider: str = "openrouter"


def refused(status: int, **metadata: str) -> Script:
    return json_script({"error": {"code": status, "message": CANARY, "metadata": metadata}}, status=status)


PAGE = Script((b"<html>Welcome</html>",), 200, (("Content-Type", "text/html"),))
FAILURES = {
    "a 500": Failure(refused(500, provider_name="Hyperion"), "failed", "upstream", "warning", 500, "Hyperion"),
    "a 429": Failure(refused(429), "limited", "upstream", "warning", 429),
    "a 503": Failure(refused(503), "overloaded", "upstream", "warning", 503),
    "a 401": Failure(refused(401), "credentials", "account", "error", 401),
    "a 402": Failure(refused(402), "credit", "account", "error", 402),
    "a 403": Failure(refused(403), "forbidden", "account", "error", 403),
    "a 404": Failure(refused(404), "model", "client", "info", 404),
    "a 400": Failure(refused(400), "refused", "client", "info", 400),
    "no answer": Failure(Script((HangUp(),)), "unreachable", "upstream", "warning"),
    "a web page": Failure(PAGE, "unreadable", "upstream", "warning", 200),
    "an answer that breaks off": Failure(
        stream_script(CONTENT, HangUp()), "cut", "upstream", "warning", 200, "Hyperion"
    ),
    "silence": Failure(Script((b"", Hold()), headers=(EVENT_STREAM,)), "timeout", "upstream", "warning", 200),
}


@pytest.fixture
async def front() -> AsyncIterator[Live]:
    """A front end that calls the upstream once for a request, and gives up on silence soon."""
    async with Simulator() as simulator:
        more = {"max_attempts": 1, "first_byte_timeout": 0.3, "idle_timeout": 0.3}
        async with serving(simulator, **more, max_body_bytes=20_000) as live:
            yield live


def lines_of(request_id: str, captured: list[Any]) -> Iterator[dict[str, Any]]:
    for line in captured:
        fields = {**line, **line.get("fields", {})}
        if fields.get("request_id") == request_id:
            yield fields


async def ask(live: Live, body: Any = PROMPT, path: str = "/v1/messages", **options: Any) -> tuple[int, Any, Any]:
    """Status, headers and the log lines with the reply's id."""
    options = {"method": "POST", "headers": {"x-api-key": KEY}, "json": body, **options}
    with capture_logs() as captured:
        async with aiohttp.ClientSession() as session, session.request(url=live.url + path, **options) as reply:
            await reply.read()
    return reply.status, reply.headers, list(lines_of(reply.headers["request-id"], captured))


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_a_failed_exchange_logs_its_cause_its_origin_and_the_upstream_s_status(front: Live, stream: bool) -> None:
    for name, failure in FAILURES.items():
        front.simulator.script(failure.script)
        _, headers, lines = await ask(front, {**PROMPT, "stream": stream})
        assert len(lines) == 1, name
        found = {name: lines[0].get(name) for name in ("cause", "origin", "log_level", "upstream_status", "provider")}
        assert found == {
            "cause": failure.cause,
            "origin": failure.origin,
            "log_level": failure.level,
            "upstream_status": failure.upstream_status,
            "provider": failure.provider,
        }, name
        assert "canary" not in str(lines), name
        if not (stream and name == "an answer that breaks off"):  # its 200 has gone out
            assert headers["x-gateway-upstream"] == "openrouter", name
            assert "canary" not in str(headers)
            if name != "an answer that breaks off":
                assert headers["x-gateway-provider"] == failure.provider, name


REFUSED: dict[str, tuple[int, str, dict[str, Any]]] = {
    "no key": (401, "key", {"headers": {}}),
    "a wrong key": (401, "key", {"headers": {"x-api-key": "nobody-s-key-0123"}}),
    "a missing field": (400, "request", {"body": {"model": "sim/echo"}}),
    "no JSON": (400, "request", {"data": b"{", "json": None}),
    "an unknown path": (404, "not_found", {"path": "/v1/nothing"}),
    "a wrong method": (405, "request", {"method": "PUT"}),
    "a body that is too large": (413, "too_large", {"body": {**PROMPT, "system": "x" * 30_000}}),
    "batches without Redis": (503, "unavailable", {"path": "/v1/messages/batches"}),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refused_request_logs_one_line_with_its_id_and_cause(front: Live, name: str) -> None:
    status, cause, options = REFUSED[name]
    answered, _, lines = await ask(front, **options)
    assert answered == status
    assert [(line["event"], line["status"], line["cause"]) for line in lines] == [("request_refused", status, cause)]
    is_known = status not in (401, 404, 405)  # neither a path nor a method that is none asks for a key
    assert (lines[0]["tenant"], "key" in lines[0]) == (("tests", True) if is_known else ("-", False))
    assert lines[0]["route"]


async def test_what_cannot_be_read_as_a_request_logs_one_line_too(front: Live) -> None:
    host, port = front.url.removeprefix("http://").split(":")
    with capture_logs() as captured:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nbroken header\r\n\r\n")
        answer = (await reader.read()).decode()
        writer.close()
    [request_id] = re.findall(r"(?m)^request-id: (\S+)", answer)
    assert [(line["status"], line["cause"]) for line in lines_of(request_id, captured)] == [(400, "request")]


async def test_the_upstream_s_message_is_logged_only_where_it_is_asked_for() -> None:
    async with Simulator() as simulator, serving(simulator, max_attempts=1, log_upstream_errors="on") as live:
        simulator.script(refused(500), refused(500))
        simulator.script(json_script({"error": {"message": "key sk-upstream-canary " + "x" * 999}}, status=500))
        quotes = [(await ask(live))[2][0]["upstream_message"] for _ in range(3)]
    assert "a word of the upstream" in quotes[0]
    assert "canary-7" in quotes[0]
    assert all(quote.isprintable() for quote in quotes)
    assert "sk-upstream-canary" not in quotes[2]
    assert len(quotes[2]) == 300


def test_causes_have_names_of_their_own() -> None:
    names = [cause.name for cause in (*CAUSES, CLIENT_LEFT)]
    assert len(names) == len(set(names))
