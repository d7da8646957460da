"""The way through the HTTP proxies that the environment names."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.errors import UpstreamUnreachable
from gateway.upstream.http.client import Call
from gateway.upstream.http.proxy_client import AiohttpClient
from tests.upstream.conftest import Play
from tests.upstream.raw_upstream import Peer, answering, trusting

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def a_client(**environment: str) -> AsyncIterator[AiohttpClient]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        client = AiohttpClient(ssl_context=trusting())
        try:
            yield client
        finally:
            await client.close()


async def fetch(client: AiohttpClient, url: str, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    answer = await client.open(Call("POST", url, headers, b"{}"))
    return await answer.read(100)


class Noting:
    """A proxy that answers by itself and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            self.asked.append(request)
            await peer.send(OK)


def place(url: str) -> str:
    """Scheme, host and port."""
    return url.removesuffix("/v1/chat")


@pytest.mark.covers("Upstreams · through an HTTP proxy")
async def test_plain_http_is_asked_of_the_proxy_with_its_credentials(play: Play) -> None:
    noting = Noting()
    proxy = await play(noting)
    async with a_client(HTTP_PROXY=place(proxy.url).replace("//", "//user:pass@")) as client:
        assert await fetch(client, "http://upstream.test/v1/chat") == b"ok"
    lines = noting.asked[0].split(b"\r\n")
    assert lines[0] == b"POST http://upstream.test/v1/chat HTTP/1.1"
    assert b"Host: upstream.test" in lines
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNz" in lines


async def test_hosts_in_no_proxy_are_asked_directly(play: Play) -> None:
    noting = Noting()
    proxy, upstream = await play(noting), await play(answering(OK))
    async with a_client(HTTP_PROXY=place(proxy.url), NO_PROXY="127.0.0.1") as client:
        assert await fetch(client, upstream.url) == b"ok"
    assert (noting.asked, upstream.connections) == ([], 1)


async def test_credentials_of_netrc_are_not_sent_to_anyone(play: Play, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    noting = Noting()
    upstream = await play(noting)
    async with a_client(NETRC=str(netrc)) as client:
        assert await fetch(client, upstream.url) == b"ok"
        assert await fetch(client, upstream.url, (("Authorization", "Bearer key"),)) == b"ok"
    assert b"authorization" not in noting.asked[0].lower()
    assert b"\r\nAuthorization: Bearer key\r\n" in noting.asked[1]


async def test_https_goes_through_a_tunnel_that_the_proxy_cannot_look_into(play: Play) -> None:
    asked: list[bytes] = []

    async def tunnel(peer: Peer) -> None:
        request = await peer.request()
        assert request is not None
        asked.append(request)
        host, port = request.split(b" ")[1].decode().split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with asyncio.TaskGroup() as both:
            both.create_task(upwards(peer, writer))
            both.create_task(downwards(reader, peer))

    async def upwards(peer: Peer, writer: asyncio.StreamWriter) -> None:
        while piece := await peer.some():
            writer.write(piece)
        writer.close()

    async def downwards(reader: asyncio.StreamReader, peer: Peer) -> None:
        while piece := await reader.read(65536):
            await peer.send(piece)
        peer.close()

    proxy, upstream = await play(tunnel), await play(answering(OK, OK), tls=True)
    async with a_client(HTTPS_PROXY=place(proxy.url)) as client:
        assert await fetch(client, upstream.url, (("Authorization", "Bearer key"),)) == b"ok"
    assert asked[0].startswith(b"CONNECT localhost:")
    assert b"key" not in asked[0]


async def test_a_proxy_that_refuses_the_tunnel_makes_the_upstream_unreachable(play: Play) -> None:
    proxy = await play(answering(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"))
    async with a_client(HTTPS_PROXY=place(proxy.url)) as client:
        with pytest.raises(UpstreamUnreachable) as caught:
            await fetch(client, "https://upstream.test/v1/chat")
    assert "upstream.test" not in caught.value.message
