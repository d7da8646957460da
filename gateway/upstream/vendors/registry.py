"""The table of vendors, and how one is recognised: by the setting, by the host, by what a server shows.

The rows are in `hosted` and `servers`. An unknown server is strict, and the fallbacks find out the rest.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.upstream.vendors.hosted import HOSTED, OPENROUTER
from gateway.upstream.vendors.servers import SERVERS
from gateway.upstream.vendors.vendor import Vendor

__all__ = [
    "COMPATIBLE",
    "HOSTED",
    "MARKED_PATHS",
    "OPENROUTER",
    "SERVERS",
    "VENDORS",
    "by_model",
    "vendor_by_list",
    "vendor_by_mark",
    "vendor_of",
]

# Any other server. It is recognised once it has been looked at, or stays unknown.
COMPATIBLE: Final = Vendor("compatible", "another server with OpenAI's chat completions")

VENDORS: Final = {vendor.name: vendor for vendor in (*HOSTED, *SERVERS, COMPATIBLE)}
# What a large proxy is slow to write, and serves nothing else meanwhile: LiteLLM 1.108 takes 16 s for its description,
# the first time, and 6 s for its first 404, on a busy core.
DESCRIPTION: Final = "/openapi.json"
PROXY_PATH: Final = "/health/liveliness"
# Paths to look at on a server with a list of models that has not shown its vendor, in this order.
MARKED_PATHS: Final = tuple(
    sorted(
        dict.fromkeys(path for vendor in SERVERS for path, _ in vendor.marks),
        key=lambda path: (path == DESCRIPTION, path != PROXY_PATH),
    )
)


@lru_cache(maxsize=64)  # of the configured upstreams, whose routes all ask for it
def vendor_of(choice: str, url: str) -> Vendor:
    """The row for a setting and the address. `auto` and `openai` leave it to the host, and later to the server.

    `openai` is OpenAI's API in its strict form on any server: that is what it has always been set for.
    """
    if choice not in ("auto", "openai"):
        return VENDORS[choice]
    host = urlsplit(url).hostname or ""
    found = next((vendor for vendor in HOSTED if vendor.has_host(host)), COMPATIBLE)
    return COMPATIBLE if choice == "openai" and found.flavor != "openai" else found


def vendor_by_list(headers: Mapping[str, str], listed: Iterable[Mapping[str, Any]]) -> Vendor | None:
    """Recognise a server by its list of models."""
    server = headers.get("server", "").lower()
    owners = {str(entry.get("owned_by")) for entry in listed}
    for vendor in SERVERS:
        if (vendor.server and server.startswith(vendor.server)) or not owners.isdisjoint(vendor.owned_by):
            return vendor
    return None


def vendor_by_mark(path: str, text: str) -> Vendor | None:
    """Recognise a server by its answer at one of MARKED_PATHS."""
    return next(
        (vendor for vendor in SERVERS for marked, mark in vendor.marks if marked == path and mark in text), None
    )


def by_model(rules: Iterable[tuple[str, Any]], model: str) -> list[Any]:
    """Values of the rules with a pattern that matches the start of the model's name."""
    return [value for pattern, value in rules if re.match(pattern, model)]
