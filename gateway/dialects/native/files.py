"""Files and their ids in a native request.

A file belongs to the operator's account at the upstream, so any tenant that knows an id could read it there.
"""

from collections.abc import Mapping
from typing import Any

from gateway.errors import InvalidRequest
from gateway.messages.repeated_text import RepeatedText

FILE_ID = b'"file_id"'
ESCAPE = b"\\u00"
# Of a letter or an underscore, as a key may be written to look like another one.
ESCAPED_LETTERS = (b"\\u005", b"\\u006", b"\\u007")
REFUSED = (
    "files belong to the gateway's account at the upstream, where every client could read them; send the content "
    "itself (the operator may allow ids with GATEWAY_FILES=shared)"
)


def may_name_files(text: RepeatedText) -> bool:
    """Return whether the request has to be looked through."""
    if text.count(FILE_ID):
        return True
    return text.count(ESCAPE) > 0 and any(text.count(escape) for escape in ESCAPED_LETTERS)


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
