"""Rights on the admin listener, with a key in a header or with the console's session."""

import sys
from typing import Any

import aiohttp
import pytest
import structlog
from structlog.testing import capture_logs

from gateway.web.routes import ADMIN_ROLES
from tests.console.stage import ADMIN_KEY, VIEW_KEY, Stage, staged

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What a page of the console sends with a change; a browser lets no page choose these.
OWN_PAGE = {"sec-fetch-site": "same-origin", "content-type": "application/json"}
FILLED = {
    "request_id": "req_none",
    "batch_id": "msgbatch_none",
    "key_id": "key_none",
    "limit_id": "spl_none",
    **dict.fromkeys(("hash", "name", "rule_id", "issuer_id", "account_id", "workspace_id", "user_id"), "none"),
    **dict.fromkeys(("role_id", "rate_limit_id"), "none"),
}


def address(path: str) -> str:
    for name, value in FILLED.items():
        path = path.replace(f"{{{name}}}", value)
    return path


async def status_of(stage: Stage, method: str, path: str, **headers: str) -> int:
    url = stage.admin_url + address(path)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with stage.session.request(method, url, headers=named, data=b"{}" if method != "GET" else None) as response:
        return response.status


async def session_cookie(stage: Stage, key: str = ADMIN_KEY) -> dict[str, str]:
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.post(f"{stage.admin_url}/api/session", json={"key": key}, headers=OWN_PAGE) as response,
    ):
        assert response.status == 200, await response.text()
        cookie = response.cookies["dragoman-session"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    return {"cookie": f"dragoman-session={cookie.value}"}


async def test_sign_in_is_logged_whether_it_is_accepted_or_refused(stage: Stage) -> None:
    url = f"{stage.admin_url}/api/session"
    with capture_logs() as logs:
        async with stage.session.post(url, json={"key": "wrong"}, headers=OWN_PAGE) as response:
            assert response.status == 401
        await session_cookie(stage, VIEW_KEY)
    told = [line for line in logs if line["event"] in ("sign_in_refused", "signed_in")]
    assert [(line["event"], line["log_level"], line["remote"]) for line in told] == [
        ("sign_in_refused", "warning", "127.0.0.1"),
        ("signed_in", "info", "127.0.0.1"),
    ]
    assert told[1]["role"] == "viewer"


async def test_no_route_but_open_ones_answers_without_a_key(stage: Stage) -> None:
    for (method, path), role in ADMIN_ROLES.items():
        if role != "open" and path != "/api/events":
            assert await status_of(stage, method, path) in (401, 403), path


async def test_viewer_reads_everything_and_changes_nothing(stage: Stage) -> None:
    for (method, path), role in ADMIN_ROLES.items():
        if path in ("/api/events", "/api/session"):
            continue
        status = await status_of(stage, method, path, x_api_key=VIEW_KEY)
        if role in ("operator", "admin"):
            assert status == 403, path
        else:
            assert status not in (401, 403, 500), path


@pytest.mark.parametrize("headers", [{"x_api_key": ADMIN_KEY}, {"authorization": f"Bearer {ADMIN_KEY}"}])
async def test_admin_key_is_accepted_in_either_header(stage: Stage, headers: dict[str, str]) -> None:
    assert await status_of(stage, "GET", "/v1/organizations/me", **headers) == 200


@pytest.mark.parametrize("key", ["wrong", "", "admin-key-012345678", "\x80"])
async def test_wrong_key_is_refused(stage: Stage, key: str) -> None:
    assert await status_of(stage, "GET", "/v1/organizations/me", x_api_key=key) in (400, 401)


async def test_session_reads_and_changes_like_its_key(stage: Stage) -> None:
    admin, viewer = await session_cookie(stage), await session_cookie(stage, VIEW_KEY)
    for cookie in (admin, viewer):
        assert await status_of(stage, "GET", "/api/overview", **cookie) == 200
    assert await status_of(stage, "POST", "/cache/clear", **{**OWN_PAGE, **viewer}) == 403
    assert await status_of(stage, "POST", "/api/keys", **{**OWN_PAGE, **admin}) == 400  # without a name


@pytest.mark.parametrize(
    ("name", "forged"),
    [
        ("no Sec-Fetch-Site", {"content-type": "application/json"}),
        ("a page of the same site", {**OWN_PAGE, "sec-fetch-site": "same-site"}),
        ("a page of another site", {**OWN_PAGE, "sec-fetch-site": "cross-site"}),
        ("an address typed by hand", {**OWN_PAGE, "sec-fetch-site": "none"}),
        ("another origin", {**OWN_PAGE, "origin": "http://evil.example"}),
        ("an origin that is none", {**OWN_PAGE, "origin": "http://["}),
        ("an opaque origin", {**OWN_PAGE, "origin": "null"}),
        ("another port of this machine", {**OWN_PAGE, "origin": "http://127.0.0.1:1"}),
        ("a form", {**OWN_PAGE, "content-type": "application/x-www-form-urlencoded"}),
        ("plain text", {**OWN_PAGE, "content-type": "text/plain"}),
        ("a foreign host", {**OWN_PAGE, "host": "evil.example"}),
    ],
)
async def test_forged_change_is_refused(stage: Stage, name: str, forged: dict[str, str]) -> None:
    cookie = await session_cookie(stage)
    assert await status_of(stage, "POST", "/api/keys", **{**forged, **cookie}) in (400, 403), name
    assert (await stage.api("GET", "/api/keys"))[1]["data"] != []
    async with stage.session.post(
        f"{stage.admin_url}/api/session", json={"key": ADMIN_KEY}, headers=forged
    ) as response:
        assert "set-cookie" not in response.headers, name


async def test_session_is_refused_under_a_foreign_host(stage: Stage) -> None:
    cookie = await session_cookie(stage)
    assert await status_of(stage, "GET", "/api/overview", **cookie, host="evil.example:8081") == 403


async def test_signing_out_ends_the_session(stage: Stage) -> None:
    cookie = await session_cookie(stage)
    assert await status_of(stage, "DELETE", "/api/session", **{**OWN_PAGE, **cookie}) == 200
    assert await status_of(stage, "GET", "/api/overview", **cookie) == 401


async def test_change_leaves_one_line_with_who_and_what(stage: Stage) -> None:
    cookie = await session_cookie(stage)
    structlog.reset_defaults()
    with capture_logs() as lines:
        batch = await stage.create_batch("acme", 2)
        await status_of(stage, "POST", f"/api/batches/{batch}/cancel", **{**OWN_PAGE, **cookie})
    [line] = [line for line in lines if line["event"] == "admin_action"]
    assert (line["role"], line["by"], line["target"]) == ("admin", "console", batch)
    assert line["action"] == "POST /api/batches/{batch_id}/cancel"
    assert (line["before"], line["after"]) == ("in_progress", "ended")


async def test_without_any_admin_key_everything_beyond_probes_is_refused() -> None:
    async with staged(admin_key=None, admin_view_key=None) as bare:
        status, body = await bare.api("GET", "/api/overview", key="any")
        assert (status, "GATEWAY_ADMIN_KEY" in body["error"]["message"]) == (403, True)
        status, body = await bare.api("GET", "/api/session")
        assert (body["role"], "GATEWAY_ADMIN_KEY" in body["problem"]) == (None, True)
        assert await status_of(bare, "GET", "/metrics") == 200


async def from_address(bare: Stage, address: str, key: str, how: str) -> tuple[int, str]:
    """Return the status and `retry-after` of a request with a key from this address of the machine."""
    url, options = f"{bare.admin_url}/v1/organizations/me", {"headers": {how: key}}
    if how == "authorization":
        options = {"headers": {how: f"Bearer {key}"}}
    if how == "form":
        url, options = f"{bare.admin_url}/api/session", {"headers": OWN_PAGE, "json": {"key": key}}
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request("POST" if how == "form" else "GET", url, **options) as response,
    ):
        return response.status, response.headers.get("retry-after", "")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")
async def test_wrong_keys_in_headers_and_form_are_limited_by_address_and_spare_others() -> None:
    ways = ("x-api-key", "authorization", "form")
    async with staged(redis_url=None) as bare:
        answers = [await from_address(bare, "127.0.0.2", f"wrong{number}", ways[number % 3]) for number in range(22)]
        assert [status for status, _ in answers] == [401] * 20 + [429] * 2
        assert 50 <= int(answers[-1][1]) <= 60
        # An accepted key would show a guesser that it is right.
        assert [(await from_address(bare, "127.0.0.2", ADMIN_KEY, way))[0] for way in ways] == [429] * 3
        assert (await from_address(bare, "127.0.0.3", ADMIN_KEY, "form"))[0] == 200
        assert (await from_address(bare, "127.0.0.3", ADMIN_KEY, "x-api-key"))[0] == 503  # without Redis


async def test_session_ends_with_the_key_that_opened_it(stage: Stage) -> None:
    cookie = await session_cookie(stage)
    changes: dict[str, Any] = {"redis_url": stage.redis_url, "admin_key": "another-admin-key-0123"}
    async with staged(**changes) as other:
        assert await status_of(other, "GET", "/api/overview", **cookie) == 401
    async with staged(redis_url=stage.redis_url) as same:
        assert await status_of(same, "GET", "/api/overview", **cookie) == 200
