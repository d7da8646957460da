"""Content parts of chat completions and Responses as blocks of a Messages request.

The two APIs name the same parts differently (`image_url` and `input_image`), and some clients mix them, so one table
reads both.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.dialects.clients.fields import to_object, to_text
from gateway.errors import InvalidRequest, shorten
from gateway.messages.openai_breakpoints import OPENAI_BREAKPOINT
from gateway.messages.validation.media import image_type, is_base64

# RFC 2397, with parameters such as a charset before `base64`.
DATA_URI: Final = re.compile(r"data:(?P<type>[^;,]+)(?:;[^;,]+=[^;,]*)*;base64,(?P<data>.*)", re.DOTALL)
# Parts that Messages requests may hold as they are.
PASSED_ON: Final = ("input_audio", "video_url")
TEXT_TYPES: Final = frozenset({"text/plain", "text/markdown", "text/csv", "application/json"})


def to_blocks(content: object, path: str) -> list[dict[str, Any]]:
    """Return blocks for text or a list of parts; blank text is left out, since Messages takes none.

    Raises InvalidRequest naming the part that no upstream could get.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return to_text_blocks(content)
    if not isinstance(content, list):
        raise InvalidRequest(f"{path}: Input should be a string or an array of parts")
    blocks: list[dict[str, Any]] = []
    for index, part in enumerate(content):
        place = f"{path}.{index}"
        if isinstance(part, str):
            blocks += to_text_blocks(part)
            continue
        kind = to_object(part, place).get("type", "text")
        if kind in PASSED_ON:
            blocks.append(part)
            continue
        read = READERS.get(kind) if isinstance(kind, str) else None
        if read is None:
            allowed = ", ".join(sorted((*READERS, *PASSED_ON)))
            raise InvalidRequest(f"{place}.type: {shorten(str(kind))!r} is not a content part; use one of {allowed}")
        blocks += marked(read(part, place), part)
    return blocks


def to_texts(content: object, path: str) -> list[dict[str, Any]]:
    """Return the blocks of content that must hold text alone."""
    blocks = to_blocks(content, path)
    if any(block["type"] != "text" for block in blocks):
        raise InvalidRequest(f"{path}: only text is possible here")
    return blocks


def marked(blocks: list[dict[str, Any]], holder: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the blocks of a part, or of a message, with its cache breakpoint on the last one.

    Clients of LiteLLM and OpenRouter have `cache_control` here.
    """
    for name in ("cache_control", OPENAI_BREAKPOINT):
        if blocks and holder.get(name):
            blocks[-1] = {**blocks[-1], name: holder[name]}
    return blocks


def to_text_blocks(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}] if text and not text.isspace() else []


def _read_text(part: dict[str, Any], path: str) -> list[dict[str, Any]]:
    return to_text_blocks(to_text(part.get("text"), f"{path}.text"))


def _read_refusal(part: dict[str, Any], path: str) -> list[dict[str, Any]]:
    return to_text_blocks(to_text(part.get("refusal"), f"{path}.refusal"))


def _read_image(part: dict[str, Any], path: str) -> list[dict[str, Any]]:
    image: Any = part.get("image_url")
    detail: Any = part.get("detail")
    if isinstance(image, dict):
        image, detail = image.get("url"), image.get("detail", detail)
    if image is None:
        raise InvalidRequest(f"{path}: images are taken as `image_url`; files are not stored here")
    url = to_text(image, f"{path}.image_url")
    found = DATA_URI.fullmatch(url)
    source = {"type": "url", "url": url}
    if found is not None:
        # Labels are often wrong, and OpenAI does not look at them.
        kind = (image_type(found["data"]) if is_base64(found["data"]) else None) or found["type"]
        source = {"type": "base64", "media_type": kind, "data": found["data"]}
    elif url.startswith("data:"):
        raise InvalidRequest(f"{path}.image_url: a data URL has the form data:image/png;base64,…")
    block: dict[str, Any] = {"type": "image", "source": source}
    if detail is not None:
        block["detail"] = detail
    return [block]


def _read_file(part: dict[str, Any], path: str) -> list[dict[str, Any]]:
    file = to_object(part.get("file", part), f"{path}.file")
    block: dict[str, Any] = {"type": "document"}
    if file.get("file_url"):
        block["source"] = {"type": "url", "url": to_text(file["file_url"], f"{path}.file_url")}
    elif file.get("file_data"):
        block["source"] = _to_document(to_text(file["file_data"], f"{path}.file_data"), path)
    else:
        raise InvalidRequest(f"{path}: files are taken as `file_data` or `file_url`; none are stored here")
    if file.get("filename"):
        block["title"] = to_text(file["filename"], f"{path}.filename")
    return [block]


def _to_document(data: str, path: str) -> dict[str, Any]:
    """Return a document's source; data without a type is a PDF's, as OpenAI takes it."""
    found = DATA_URI.fullmatch(data)
    kind, content = (found["type"], found["data"]) if found is not None else ("application/pdf", data)
    if kind in TEXT_TYPES or kind.startswith("text/"):
        return {"type": "text", "media_type": "text/plain", "data": _decoded(content, path)}
    if kind != "application/pdf":
        raise InvalidRequest(f"{path}.file_data: {shorten(kind)!r} cannot be passed on; use PDF or text")
    return {"type": "base64", "media_type": kind, "data": content}


def _decoded(data: str, path: str) -> str:
    try:
        return b64decode(data, validate=True).decode()
    except ValueError:
        raise InvalidRequest(f"{path}.file_data: not base64 of UTF-8 text") from None


READERS: Final[dict[str, Callable[[dict[str, Any], str], list[dict[str, Any]]]]] = {
    "text": _read_text,
    "input_text": _read_text,
    "output_text": _read_text,
    "summary_text": _read_text,
    "refusal": _read_refusal,
    "image_url": _read_image,
    "input_image": _read_image,
    "file": _read_file,
    "input_file": _read_file,
}
KNOWN_PARTS: Final = frozenset((*READERS, *PASSED_ON))
