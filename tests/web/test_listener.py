import asyncio
import socket

import pytest

from gateway.telemetry.metrics import DESCRIPTORS_EXHAUSTED
from gateway.web.listener import listening, open_sockets
from tests.support.descriptors import no_descriptors_left


class Greeting(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


async def greeting_from(address: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    greeting = await reader.read()
    writer.close()
    await writer.wait_closed()
    return greeting


async def test_a_crowd_that_connects_at_once_is_served() -> None:
    async with listening(Greeting, await open_sockets("127.0.0.1", 0, shared=False)) as listener:
        greetings = await asyncio.gather(*[greeting_from(listener.address) for _ in range(300)])
    assert greetings == [b"hello"] * 300


async def test_connections_that_the_kernel_had_accepted_are_served() -> None:
    async with listening(Greeting, await open_sockets("127.0.0.1", 0, shared=False)) as listener:
        pending = [asyncio.create_task(greeting_from(listener.address)) for _ in range(20)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*pending) == [b"hello"] * 20


async def test_closed_listener_accepts_no_connection() -> None:
    async with listening(Greeting, await open_sockets("127.0.0.1", 0, shared=False)) as listener:
        address = listener.address
    with pytest.raises(ConnectionRefusedError):
        await greeting_from(address)


async def test_a_port_in_use_is_an_error_unless_it_is_shared() -> None:
    async with listening(Greeting, await open_sockets("127.0.0.1", 0, shared=True)) as listener:
        host, port = listener.address
        async with listening(Greeting, await open_sockets(host, port, shared=True)):
            assert await greeting_from((host, port)) == b"hello"
        with pytest.raises(OSError, match="in use"):
            await open_sockets(host, port, shared=False)


async def test_without_descriptors_accepting_rests_and_goes_on_later() -> None:
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    async with listening(Greeting, await open_sockets("127.0.0.1", 0, shared=False)) as listener:
        with socket.create_connection(listener.address) as client:  # the kernel completes it; it is not accepted yet
            with no_descriptors_left():
                await asyncio.sleep(0.02)
            client.settimeout(5)
            assert await asyncio.to_thread(client.recv, 100) == b"hello"
    assert problems == []
    assert DESCRIPTORS_EXHAUSTED.labels("client")._value.get() > 0
