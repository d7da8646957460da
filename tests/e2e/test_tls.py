"""TLS on the client listener: the official SDK over it, plain HTTP refused, wrong files named at the start."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.app import running
from gateway.settings import SettingsError
from gateway.simulator.loopback import Simulator
from tests.e2e.conftest import KEY, settings_for
from tests.support.certificates import make_certificate

HELLO: dict[str, Any] = {"model": "sim/text-3", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


async def test_client_listener_speaks_tls_with_a_certificate(
    simulator: Simulator, certificate: tuple[str, str]
) -> None:
    chain, key = certificate
    trust = ssl.create_default_context(cafile=chain)
    async with running(settings_for(simulator, tls_certificate=chain, tls_key=key)) as addresses:
        host, port = addresses.client
        headers = {"x-api-key": KEY}
        async with aiohttp.ClientSession(headers=headers) as session:
            for stream in (False, True):
                url, body = f"https://{host}:{port}/v1/messages", {**HELLO, "stream": stream}
                async with session.post(url, json=body, ssl=trust) as response:
                    assert response.status == 200
                    assert b"one" in await response.read()
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"http://{host}:{port}/livez")
        _, writer = await asyncio.open_connection(host, port)  # that never shakes hands
        writer.close()
        await writer.wait_closed()


async def test_certificate_that_cannot_be_used_stops_the_start(
    simulator: Simulator, certificate: tuple[str, str], tmp_path: Path
) -> None:
    chain, key = certificate
    wrong = (
        {"tls_certificate": chain},
        {"tls_key": key},
        {"tls_certificate": str(tmp_path / "none"), "tls_key": key},
        {"tls_certificate": key, "tls_key": chain},
    )
    for settings in wrong:
        with pytest.raises(SettingsError, match="GATEWAY_TLS_CERTIFICATE"):
            async with running(settings_for(simulator, **settings)):
                pass
