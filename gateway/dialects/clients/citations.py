"""Citations of web pages as OpenAI's APIs have them: places in the text, with an address and a title."""

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.json_values import to_mapping


def to_annotations(citations: object, start: int, end: int) -> list[dict[str, Any]]:
    """Return annotations of the characters from `start` to `end`; citations of documents have no form there."""
    return [
        {
            "url": citation["url"],
            "title": citation.get("title") or citation["url"],
            "start_index": start,
            "end_index": end,
        }
        for citation in map(to_mapping, citations if isinstance(citations, list) else ())
        if isinstance(citation.get("url"), str)
    ]


def to_parts(annotations: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return them as parts of a Responses text."""
    return [{"type": "url_citation", **annotation} for annotation in annotations]


def to_entries(annotations: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return them as a chat message has them."""
    return [{"type": "url_citation", "url_citation": dict(annotation)} for annotation in annotations]
