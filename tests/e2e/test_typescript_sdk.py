"""The official TypeScript SDK against a front end, as the Python SDK is everywhere else.

It is installed from npm into the cache folder on first use; without node, npm or a registry these tests are skipped.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.redis.embedded import EmbeddedServer
from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import KEY, serving
from tests.support.npm import installed

PACKAGE = "@anthropic-ai/sdk@1.14.0"
SESSION = Path(__file__).parent / "typescript" / "session.mjs"
SESSION_SECONDS = 60.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def found(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Any]]:
    """Everything that one session of the SDK found."""
    folder = await asyncio.to_thread(installed, PACKAGE, "typescript-sdk")
    async with (
        EmbeddedServer(tmp_path_factory.mktemp("redis")) as redis,
        Simulator() as simulator,
        serving(simulator, redis_url=redis.url) as live,
    ):
        command = ("node", str(SESSION), str(folder), live.url, KEY)
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(SESSION_SECONDS):
                output, complaint = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()  # asyncio closes the pipes only once they are read to the end
        assert process.returncode == 0, complaint.decode()
        yield json.loads(output)


@pytest.mark.covers("Messages · request and answer with the official TypeScript SDK")
async def test_message_and_its_stream_hold_the_same_text(found: dict[str, Any]) -> None:
    message, stream = found["message"], found["stream"]
    assert (message["type"], message["stop"], message["hasId"]) == ("message", "end_turn", True)
    assert "Good morning" in message["text"]
    assert stream["text"] == stream["final"] == message["text"]
    assert stream["output"]


async def test_tool_call_and_its_result_make_a_loop(found: dict[str, Any]) -> None:
    tools = found["tools"]
    assert (tools["name"], tools["word"], tools["stop"], tools["last"]) == ("look_up", "string", "tool_use", "end_turn")
    assert "a fruit" in tools["text"]


async def test_batch_is_created_listed_canceled_read_and_deleted(found: dict[str, Any]) -> None:
    assert found["batches"] == {
        "created": "in_progress",
        "listed": True,
        "ended": "ended",
        "results": [["a", "canceled"], ["b", "canceled"]],
        "deleted": "message_batch_deleted",
    }


async def test_models_are_listed_and_tokens_counted(found: dict[str, Any]) -> None:
    assert found["models"] == {"some": True, "same": True}
    assert found["count"] > 0


@pytest.mark.parametrize(
    ("name", "error", "status", "type_", "message"),
    [
        ("invalid", "BadRequestError", 400, "invalid_request_error", "max_tokens: Field required"),
        ("key", "AuthenticationError", 401, "authentication_error", "invalid x-api-key"),
        ("batch", "NotFoundError", 404, "not_found_error", ""),
        ("files", "NotFoundError", 404, "not_found_error", "The Files API is not offered by this gateway."),
        ("skills", "NotFoundError", 404, "not_found_error", "The Skills API is not offered by this gateway."),
    ],
)
async def test_error_has_the_class_type_and_words_of_the_api(
    found: dict[str, Any], name: str, error: str, status: int, type_: str, message: str
) -> None:
    told = found["errors"][name]
    assert (told["name"], told["status"], told["type"], told["hasId"]) == (error, status, type_, True)
    assert told["message"].startswith(message)
