"""Finds out what an unknown server is, by what it shows without a key: its list of models, else a few marked paths.

Only for servers that neither a setting nor their host names. Sends only GET requests without a body, once each.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.errors import GatewayError
from gateway.upstream.http.client import Call, Timeouts, UpstreamClient
from gateway.upstream.routes.route import Upstream
from gateway.upstream.vendors.registry import COMPATIBLE, MARKED_PATHS, vendor_by_list, vendor_by_mark
from gateway.upstream.vendors.vendor import Vendor

# The start waits for this at most; a server that is still loading is asked again later.
TIMEOUTS = Timeouts(connect=2.0, first_byte=2.0, idle=2.0, total=3.0)
# FastAPI's description of a small server has some kilobytes; a proxy's may have a megabyte.
MAX_MARK_BYTES = 4 * 1024 * 1024


async def look_at(
    client: UpstreamClient, upstream: Upstream, headers: Mapping[str, str], listed: Iterable[Mapping[str, Any]]
) -> Vendor | None:
    """The vendor, COMPATIBLE if the server shows none, None if it could not be asked.

    `headers` and `listed`: those of its list of models, empty if it gave none.
    """
    vendor = vendor_by_list(headers, listed)
    if vendor is not None:
        return vendor
    has_answered = False
    root = upstream.url.removesuffix("/v1")
    for path in MARKED_PATHS:
        try:
            answer = await client.open(Call("GET", root + path, (("accept", "*/*"),), timeouts=TIMEOUTS))
            text = (await answer.read(MAX_MARK_BYTES)).decode("utf-8", "replace")
        except GatewayError:
            # Any other server answers 404 or closes; the next path may be known.
            continue
        has_answered = True
        vendor = vendor_by_mark(path, text) if answer.status == 200 else None
        if vendor is not None:
            return vendor
    return COMPATIBLE if has_answered else None
