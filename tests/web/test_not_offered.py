"""404s of other APIs of Anthropic and OpenAI."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import anthropic
import openai
import pytest
import pytest_asyncio

from gateway.simulator.loopback import Simulator
from gateway.web.not_offered import NOT_OFFERED, OPENAIS_NOT_OFFERED, not_found_message
from gateway.web.routes import CLIENT_ROUTES
from tests.e2e.conftest import Live, serving

SDK = Path(anthropic.__file__).parent
# First arguments of calls, and of the templates that fill in an id.
OPENAI_PATH = re.compile(r"""\(\s*f?"/([a-z_]{3,})[/"]""")
SDK_PATH = re.compile(r"""["'`]/v1/([a-z_]+)""")
UNKNOWN = "Not found: there is no such path in this API."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live() -> AsyncIterator[Live]:
    async with Simulator() as simulator, serving(simulator) as front:
        yield front


@pytest.mark.covers("Messages · other APIs of Anthropic's SDK", "refused")
def test_every_path_of_the_sdk_is_routed_or_named() -> None:
    called = {name for file in SDK.rglob("*.py") for name in SDK_PATH.findall(file.read_text(encoding="utf-8"))}
    routed = {route.path.split("/")[2] for route in CLIENT_ROUTES if route.path.startswith("/v1/")}
    assert called > {"files", "organizations", "messages"}
    assert called - routed - NOT_OFFERED.keys() == set()
    assert routed & NOT_OFFERED.keys() == set()


def test_every_path_of_openais_sdk_is_routed_or_named() -> None:
    """Its paths have no version, which is in the base URL."""
    files = (Path(openai.__file__).parent / "resources").rglob("*.py")
    called = {name for file in files for name in OPENAI_PATH.findall(file.read_text(encoding="utf-8"))}
    routed = {route.path.split("/")[2] for route in CLIENT_ROUTES if route.path.startswith("/v1/")}
    assert called > {"batches", "chat", "responses"}
    assert called - routed - NOT_OFFERED.keys() - OPENAIS_NOT_OFFERED.keys() == set()
    assert not (routed | NOT_OFFERED.keys()) & OPENAIS_NOT_OFFERED.keys()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/files", "The Files API is not offered by this gateway. Send files within messages, as base64 or text."),
        ("/v1/files/file_1/content", not_found_message("/v1/files")),
        (
            "/v1/batches",
            (
                "The Batch API of OpenAI is not offered by this gateway. "
                "Use POST /v1/messages/batches, which takes requests in Anthropic's form."
            ),
        ),
        ("/v1/embeddings", "The Embeddings API is not offered by this gateway."),
        ("/v1/skills/", "The Skills API is not offered by this gateway."),
        (
            "/v1/organizations/api_keys",
            "The Admin API is not offered by this gateway. Parts of it are on the admin listener.",
        ),
        ("/v1/filesystem", UNKNOWN),
        ("/v2/files", UNKNOWN),
        ("/files", UNKNOWN),
        ("/v1", UNKNOWN),
        ("/", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_message_names_the_api_of_the_first_segment(path: str, message: str) -> None:
    assert not_found_message(path) == message


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "PATCH"])
async def test_every_method_of_an_api_that_is_not_offered_is_a_404_by_name(live: Live, method: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{live.url}/v1/sessions/s_1/events?beta=true", data=b"{}") as answer,
    ):
        body = await answer.json()
        assert (answer.status, body["error"]["type"]) == (404, "not_found_error")
        assert body["error"]["message"] == "The Sessions API is not offered by this gateway."
        assert answer.headers["request-id"] == body["request_id"]


@pytest.mark.asyncio(loop_scope="module")
async def test_sdk_raises_not_found_with_the_name_of_the_api(live: Live) -> None:
    client = live.client()
    with pytest.raises(anthropic.NotFoundError, match="The Files API is not offered by this gateway"):
        await client.beta.files.list()
    with pytest.raises(anthropic.NotFoundError, match="The Skills API is not offered by this gateway"):
        await client.beta.skills.list()
