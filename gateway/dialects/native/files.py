"""Files and their ids in a native request.

A file belongs to the operator's account at the upstream, so any tenant that knows an id could read it there.
"""

from collections.abc import Mapping
from typing import Any

from gateway.errors import InvalidRequest

FILE_ID = b'"file_id"'
REFUSED = (
    "files belong to the gateway's account at the upstream, where every client could read them; send the content "
    "itself (the operator may allow ids with GATEWAY_FILES=shared)"
)


def refuse_files(request: Mapping[str, Any]) -> None:
    """Raises InvalidRequest at the first `file_id` of a source or of a container upload."""
    path = _find({name: request.get(name) for name in ("system", "messages")}, "")
    if path is not None:
        raise InvalidRequest(f"{path}: {REFUSED}")


def _find(value: Any, path: str) -> str | None:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        place = f"{path}.{key}".removeprefix(".")
        if key == "file_id":
            return place
        found = _find(inner, place) if key != "input" else None  # the input of a tool call is the client's own
        if found is not None:
            return found
    return None
