"""nginx and haproxy in front of a front end, for tests. The tests are skipped where they are not installed."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.raw_http import converse, request

NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 1000; }}
http {{
  access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  upstream gateway {{ server {address}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      proxy_request_buffering off; proxy_next_upstream off;
    }}
  }}
}}
"""
HAPROXY = """
global
  log stdout format raw daemon
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  http-reuse always
frontend clients
  bind 127.0.0.1:{port}
  default_backend gateway
backend gateway
  server one {address}
"""
PROXIES = {"nginx": NGINX, "haproxy": HAPROXY}


def find_proxy(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


@asynccontextmanager
async def proxy(name: str, url: str, folder: Path, port: int) -> AsyncIterator[str]:
    """Yield the URL of a proxy in front of `url`. Clients share its kept-alive connections."""
    binary = find_proxy(name)
    assert binary is not None, f"{name} is not installed"
    file = folder / f"{name}.conf"
    file.write_text(PROXIES[name].format(folder=folder, address=urlsplit(url).netloc, port=port))
    arguments = ("-c", str(file), "-e", f"{folder}/error.log") if name == "nginx" else ("-db", "-f", str(file))
    process = await asyncio.create_subprocess_exec(
        binary, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    front = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(10):
            while not await _answers(front):
                assert process.returncode is None, f"{name} has ended"
                await asyncio.sleep(0.05)
        yield front
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answers(url: str) -> bool:
    try:
        return (await converse(url, [request("GET", "/livez")], replies=1, seconds=1)).statuses == [200]
    except OSError:
        return False
