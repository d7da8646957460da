"""Sign-in by the device flow, and exchange of a workload's token, with a certified OpenID provider (oidc-provider).

It is installed from npm into the cache folder on first use; without node, npm or a registry these tests are skipped.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import pytest
import pytest_asyncio
from anthropic.lib.credentials import WorkloadIdentityCredentials

from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import Live, serving
from tests.support.npm import installed
from tests.support.redis_server import redis_server

PACKAGE = "oidc-provider@9.13.3"
PROVIDER = Path(__file__).parent / "oidc" / "provider.mjs"
SECONDS = 120.0
HELLO: dict[str, Any] = {"model": "sim/text-3", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}
REDIRECT = "http://gateway.test/oauth/callback"
FILE = """
[identity]
audience = ["https://gateway.test"]
managed_settings = {{ model = "sim/text-3" }}

[[identity.issuers]]
issuer = "{issuer}"

[[identity.rules]]
name = "robots"
issuer = "{issuer}"
subject = "robot"
tenant = "robots"
rpm = 3

[[identity.rules]]
name = "people"
issuer = "{issuer}"
groups = ["dev"]
email_domain = "example.com"
tenant = "people"
role = "viewer"

[identity.sign_in]
issuer = "{issuer}"
client_id = "gateway"
client_secret = "gateway-secret"
scopes = ["openid", "email", "groups", "offline_access"]
"""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(slots=True)
class Company:
    """A front end, and the provider that its people and workloads have accounts at."""

    live: Live
    issuer: str

    async def call(self, path: str, **form: str) -> tuple[int, dict[str, Any]]:
        async with aiohttp.ClientSession() as session, session.post(self.live.url + path, data=form) as response:
            return response.status, await response.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def company(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Company]:
    folder = await asyncio.to_thread(installed, PACKAGE, "oidc-provider")
    process = await asyncio.create_subprocess_exec(
        "node", str(PROVIDER), str(folder), REDIRECT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            issuer = (await process.stdout.readline()).decode().strip()
        file = tmp_path_factory.mktemp("identity") / "gateway.toml"
        await asyncio.to_thread(file.write_text, FILE.format(issuer=issuer))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GATEWAY_CONFIG", str(file))
            async with redis_server() as url, Simulator() as simulator:
                settings = {"redis_url": url, "keys": None, "public_url": "http://gateway.test"}
                async with serving(simulator, **settings) as live:
                    yield Company(live, issuer)
    finally:
        process.kill()
        await process.communicate()


class Browser:
    """Follows redirects and fills in forms; the gateway's public address is that of its listener."""

    def __init__(self, company: Company, session: aiohttp.ClientSession) -> None:
        self.company, self.session, self.cookie = company, session, ""

    async def go(self, method: str, url: str, form: dict[str, str] | None = None) -> tuple[str, str]:
        """Return the address and the content of the page at the end."""
        for _ in range(12):
            own = url.startswith("http://gateway.test")
            address = url.replace("http://gateway.test", self.company.live.url)
            headers = {"cookie": self.cookie} if own and self.cookie else {}
            async with self.session.request(
                method, address, data=form, allow_redirects=False, headers=headers
            ) as response:
                if own and "set-cookie" in response.headers:
                    self.cookie = response.headers["set-cookie"].partition(";")[0]
                if response.status not in (302, 303):
                    return url, await response.text()
                target = response.headers["location"]
                url = target if "//" in target else self.company.issuer + target
                method, form = "GET", None
        raise AssertionError(f"too many redirects: {url}")


async def signed_in(company: Company, name: str, **form: str) -> tuple[dict[str, Any], str]:
    """Begin a sign-in, confirm it in a browser as this person. Return the device's codes, and the last page."""
    status, started = await company.call("/oauth/device_authorization", surface="claude_code")
    assert status == 200
    status, waiting = await company.call("/oauth/token", grant_type=DEVICE, device_code=started["device_code"])
    assert (status, waiting["error"]) == (400, "authorization_pending")
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        browser = Browser(company, session)
        _, page = await browser.go("GET", started["verification_uri_complete"])
        assert started["user_code"] in page
        url, page = await browser.go("POST", "http://gateway.test/device", {"user_code": started["user_code"]})
        while "/interaction/" in url:
            found = re.search(r'action="([^"]+)"', page)
            assert found is not None
            prompt = "login" if 'name="login"' in page else "consent"
            url, page = await browser.go("POST", found[1], {"prompt": prompt, "login": name, "password": "x"})
    return started, page


DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


async def test_person_signs_in_by_device_flow_refreshes_once_per_token_and_signs_out(company: Company) -> None:
    started, page = await signed_in(company, "ann")
    assert "You are signed in" in page
    polls = [company.call("/oauth/token", grant_type=DEVICE, device_code=started["device_code"]) for _ in range(20)]
    answers = await asyncio.gather(*polls)
    [tokens] = [body for status, body in answers if status == 200]
    assert {body["error"] for status, body in answers if status != 200} == {"expired_token"}
    assert tokens["email"] == "ann@example.com"
    client = company.live.client(api_key=None, auth_token=tokens["access_token"])
    assert (await client.messages.create(**HELLO)).type == "message"
    status, fresh = await company.call(
        "/oauth/token", grant_type="refresh_token", refresh_token=tokens["refresh_token"]
    )
    assert status == 200
    assert fresh["refresh_token"] != tokens["refresh_token"]
    status, reused = await company.call(
        "/oauth/token", grant_type="refresh_token", refresh_token=tokens["refresh_token"]
    )
    assert (status, reused["error"]) == (401, "invalid_grant")
    status, _ = await company.call("/oauth/token", grant_type="refresh_token", refresh_token=fresh["refresh_token"])
    assert status == 401, "a refresh token that comes again ends its session"
    assert (await company.call("/oauth/revoke", token="unknown"))[0] == 200


async def test_managed_settings_have_a_checksum_and_are_not_sent_twice(company: Company) -> None:
    started, _ = await signed_in(company, "bob")
    _, tokens = await company.call("/oauth/token", grant_type=DEVICE, device_code=started["device_code"])
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    url = company.live.url + "/managed/settings"
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(url) as response:
            body, etag = await response.json(), response.headers["etag"]
        assert body["settings"] == {"model": "sim/text-3"}
        assert etag == f'"{body["checksum"]}"'
        async with session.get(url, headers={"if-none-match": etag}) as response:
            assert response.status == 304
        async with session.get(f"{company.live.admin_url}/v1/organizations/api_keys") as response:
            assert response.status == 200, "the rule gives the role of a viewer"
        async with session.post(f"{company.live.admin_url}/v1/organizations/api_keys", json={"name": "x"}) as response:
            assert response.status == 403
        async with session.post(f"{company.live.url}/v1/metrics", data=b"{}") as response:
            assert response.status == 200


async def test_page_of_another_site_cannot_confirm_a_code_and_guesses_are_limited(company: Company) -> None:
    url = company.live.url + "/device"
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as response:
            assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        for headers in ({"origin": "https://evil.example"}, {"origin": "http://["}, {"sec-fetch-site": "cross-site"}):
            async with session.post(url, data={"user_code": "BBBB-BBBB"}, headers=headers) as response:
                assert response.status == 403
        statuses = []
        for _ in range(12):
            async with session.post(url, data={"user_code": "BBBB-BBBB"}, allow_redirects=False) as response:
                statuses.append(response.status)
        assert statuses[-1] == 429
        assert set(statuses) == {404, 429}


async def test_sdk_exchanges_the_token_of_a_workload_and_has_its_limits(company: Company) -> None:
    form = {"grant_type": "client_credentials", "client_id": "robot", "client_secret": "robot-secret"}
    async with aiohttp.ClientSession() as session, session.post(company.issuer + "/token", data=form) as response:
        token = (await response.json())["access_token"]
    credentials = WorkloadIdentityCredentials(
        identity_token_provider=lambda: token, federation_rule_id="robots", organization_id="o"
    )
    client = await asyncio.to_thread(
        anthropic.Anthropic, base_url=company.live.url, credentials=credentials, max_retries=0
    )
    raw = await asyncio.to_thread(lambda: client.messages.with_raw_response.create(**HELLO))
    assert raw.headers["anthropic-ratelimit-requests-limit"] == "3"
    direct = company.live.client(api_key=None, auth_token=token)
    for _ in range(2):
        await direct.messages.create(**HELLO)
    with pytest.raises(anthropic.RateLimitError, match="Limit of user robot"):
        await direct.messages.create(**HELLO)
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            company.live.url + "/v1/oauth/token",
            json={"grant_type": GRANT, "assertion": token, "federation_rule_id": "people"},
        ) as response,
    ):
        assert (response.status, (await response.json())["error"]) == (401, "invalid_grant")
    client.close()


GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
