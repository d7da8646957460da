"""Address of a client, with and without proxies that are trusted."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.access.networks import check_networks, is_within
from gateway.web.addresses import TRUSTED_PROXIES, address_of

PROXIES = ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        pytest.param("10.0.0.1", "", "10.0.0.1", id="without the header"),
        pytest.param("10.0.0.1", "198.51.100.1", "198.51.100.1", id="behind a proxy"),
        pytest.param("10.0.0.1", "198.51.100.1, 10.2.2.2", "198.51.100.1", id="behind two proxies"),
        pytest.param("10.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1", id="with a forged entry before it"),
        pytest.param("198.51.100.1", "203.0.113.9", "198.51.100.1", id="from a client that forges the header"),
        pytest.param("10.0.0.1", "10.3.3.3", "10.3.3.3", id="of a client within the proxies' network"),
        pytest.param("10.0.0.1", "203.0.113.9, junk", "junk", id="with text that is no address"),
        pytest.param("2001:db8::1", "203.0.113.9", "203.0.113.9", id="behind a proxy with IPv6"),
        pytest.param("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9", id="behind a proxy on a socket for both"),
        pytest.param(None, "203.0.113.9", "", id="on a Unix socket"),
    ],
)
def test_address_is_what_the_first_trusted_proxy_has_seen(peer: str | None, forwarded: str, address: str) -> None:
    app = web.Application()
    app[TRUSTED_PROXIES] = PROXIES
    headers = {"x-forwarded-for": forwarded} if forwarded else {}
    request = make_mocked_request("GET", "/", headers=headers, app=app).clone(remote=peer or "")
    assert address_of(request) == address


def test_header_does_not_count_without_trusted_proxies() -> None:
    request = make_mocked_request("GET", "/", headers={"x-forwarded-for": "203.0.113.9"}, app=web.Application())
    assert address_of(request.clone(remote="10.0.0.1")) == "10.0.0.1"


@pytest.mark.parametrize(
    ("address", "networks", "expected"),
    [
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("11.1.2.3", ("10.0.0.0/8",), False),
        ("::ffff:10.1.2.3", ("10.0.0.0/8",), True),
        ("fe80::1%eth0", ("fe80::/10",), True),
        ("10.1.2.3", ("::/0",), False),
        ("junk", ("0.0.0.0/0", "::/0"), False),
        ("", ("0.0.0.0/0",), False),
    ],
)
def test_address_is_within_networks_of_its_version(address: str, networks: tuple[str, ...], expected: bool) -> None:
    assert is_within(address, networks) is expected


@pytest.mark.parametrize("text", ["10.0.0.1/8", "example.com", "", "10.0.0.0/33"])
def test_text_that_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 192"):
        check_networks(["10.0.0.0/8", text])
