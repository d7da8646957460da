"""The console's files: one page for all its addresses, and the modules and styles that it loads.

The files lie under a folder named by the hash of all of them, so browsers may keep them for good, and a new version is
loaded at once. All files are loaded from here: the console works in a closed network.
"""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.errors import NotFound

FOLDER: Final = Path(__file__).parent / "static"
PAGE: Final = "page.html"
TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# Trusted Types make the browser refuse markup from strings, wherever a script would put it into the page.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
SAFETY: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
KEEP: Final = {"cache-control": "public, max-age=31536000, immutable"}


async def show_page(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's shape
    """Return the page, which holds no data; a script fills it by the address."""
    page, _ = load()
    headers = {**SAFETY, "cache-control": "no-cache"}
    return web.Response(body=page, content_type="text/html", charset="utf-8", headers=headers)


async def show_asset(request: web.Request) -> web.Response:
    _, files = load()
    name = request.match_info["name"]
    found = files.get((request.match_info["hash"], name))
    if found is None:
        raise NotFound("Not found: the console has no such file.")
    kind = TYPES[Path(name).suffix]
    return web.Response(body=found, content_type=kind, charset="utf-8", headers={**SAFETY, **KEEP})


@lru_cache(maxsize=1)
def load() -> tuple[bytes, dict[tuple[str, str], bytes]]:
    """Return the page, and every other file by hash and name. 60 kB, read once."""
    files = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES}
    digest = hashlib.sha256(b"\0".join(name.encode() + content for name, content in files.items())).hexdigest()[:16]
    page = (FOLDER / PAGE).read_bytes().replace(b"{hash}", digest.encode())
    return page, {(digest, name): content for name, content in files.items()}
