"""deploy/nginx in front of two front ends, by the real nginx, where it is installed."""

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import aiohttp
import orjson
import pytest

from gateway.simulator.loopback import Simulator
from gateway.simulator.script import Hold, stream_script
from tests.chaos.world import until
from tests.e2e.conftest import KEY, serving
from tests.e2e.test_streams import ASK, chunk

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
CONFIG = Path(__file__).parents[2] / "deploy/nginx/dragoman.conf"
SECONDS = 20.0
# The shipped file is a part of http {}; paths that nginx would otherwise write to belong to root.
FRAME = """
daemon off; pid {folder}/nginx.pid; error_log stderr warn; worker_processes 1;
events {{ worker_connections 512; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    {config}
}}
"""

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@asynccontextmanager
async def nginx(folder: Path, *fronts: str) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    servers = "\n".join(f"server {front.removeprefix('http://')} max_fails=1 fail_timeout=1s;" for front in fronts)
    config = re.sub(r"server 127\.0\.0\.1:8080 [^\n]*", servers, CONFIG.read_text())
    config = config.replace("listen 80;", f"listen 127.0.0.1:{port};")
    path = folder / "nginx.conf"
    path.write_text(FRAME.format(folder=folder, config=config))
    assert NGINX is not None
    process = await asyncio.create_subprocess_exec(NGINX, "-p", str(folder), "-c", str(path))
    try:
        await until(lambda: answers(port), "nginx")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_streams_pass_unbuffered_large_bodies_pass_and_a_front_end_may_be_away(tmp_path: Path) -> None:
    gate = asyncio.Event()
    headers = {"x-api-key": KEY}
    with socket.create_server(("127.0.0.1", 0)) as away:
        unreachable = f"http://127.0.0.1:{away.getsockname()[1]}"
    async with (
        Simulator() as simulator,
        serving(simulator) as live,
        nginx(tmp_path, unreachable, live.url) as url,
        aiohttp.ClientSession(url, headers=headers) as session,
        asyncio.timeout(SECONDS),
    ):
        ends = (Hold(gate), chunk("two", finish_reason="stop"), b"data: [DONE]\n\n")
        simulator.script(stream_script(chunk("one"), *ends))
        async with session.post("/v1/messages", json={**ASK, "stream": True}) as answer:
            shown = b""
            while b"one" not in shown:  # the rest is sent after the gate opens
                shown += await answer.content.readany()
            gate.set()
            assert b"two" in await answer.read()
        large = {**ASK, "messages": [{"role": "user", "content": "x" * (8 * 1024 * 1024)}]}
        options = {"data": BytesIO(orjson.dumps(large)), "headers": {**headers, "content-type": "application/json"}}
        async with session.post("/v1/messages/count_tokens", **options) as answer:
            assert (answer.status, (await answer.json())["input_tokens"] > 100_000) == (200, True)
        for _ in range(6):  # one of the two front ends is not there
            async with session.post("/v1/messages", json=ASK) as answer:
                assert answer.status == 200
        async with session.get("/readyz") as answer:
            assert answer.status == 404
