"""Citations of an answer: an upstream's annotations to Anthropic's citations and search results, and back.

A chat answer brings its sources beside the text, with positions in it; Anthropic's shows the search
and its results first, and cuts the text where a citation ends. Where annotations come before the text, as in every JSON
answer, that is done. In a stream they may come once the text has been shown: then they cite its block as a whole, and
the search follows it. No text is held back for a citation that may still come.

In the next request the text flows together again, and the search results become text.

Annotations of files hold what OpenRouter read in them. They travel sealed in a block that clients give back, so that
OpenRouter does not read and charge the same file again.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, cast

import orjson

from gateway.access.keyring import Keyring
from gateway.dialects.reply import Reply
from gateway.errors import UpstreamError
from gateway.json_values import to_string
from gateway.messages.envelope import Envelope, open_envelope, seal
from gateway.schemas.openai import ContentPart

KINDS = ("url_citation", "web_search_citation")

# More than any answer cites; an upstream that loops is stopped before it fills memory.
MAX_CITATIONS = 1000

# What was read in the files of one request, in bytes of JSON; beyond that reading them again is the lesser cost.
MAX_FILE_BYTES = 2 * 1024 * 1024
# What an envelope says instead of the model, if it holds annotations of files.
FILES = "annotations of files"

# Characters of each found page that a later request repeats to the model.
EXCERPT_LENGTH = 500


@dataclass(frozen=True, slots=True, repr=False)
class Citation:
    """`text` is the source's own. `end`: how many characters of the answer's text come before it; None if unknown."""

    url: str
    title: str | None
    text: str
    end: int | None
    encrypted_index: str | None = None


class Sources:
    """The citations of one answer. `add` them as they come; call `cut` for text while `is_ahead`.

    `is_whole`: whether nothing had to be left out for being too much.
    """

    __slots__ = (
        "_ahead", "_file_bytes", "_files", "_found", "_position", "_reply", "_seen", "_told", "_unplaced", "is_whole",
    )  # fmt: skip

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._seen: set[Citation] = set()
        self._found: dict[str, Citation] = {}  # by address; the first of each
        self._files: dict[bytes, Mapping[str, Any]] = {}  # by their JSON
        self._file_bytes = 0
        self._told = 0  # how many of these a search result has named
        self._ahead: deque[tuple[int, Citation]] = deque()  # of text that is still to come, by where they end
        self._unplaced: list[Citation] = []  # of the text as a whole
        self._position = 0  # in the text, while any are ahead
        self.is_whole = True

    @property
    def is_ahead(self) -> bool:
        """Whether text is still to come that is cited."""
        return bool(self._ahead)

    def add(self, annotations: Sequence[Mapping[str, Any]]) -> list[Citation]:
        """Known annotations. Returns the citations that are new: upstreams repeat them."""
        new = []
        for annotation in annotations:
            if annotation.get("type") == "file":
                self._add_file(annotation)
                continue
            citation = _read(annotation)
            if citation is None or citation in self._seen:
                continue
            if len(self._seen) == MAX_CITATIONS:
                self.is_whole = False
                break
            self._seen.add(citation)
            self._found.setdefault(citation.url, citation)
            new.append(citation)
        return new

    def expect(self, citations: Sequence[Citation]) -> None:
        """Take citations that came before their text, which is to be cut where each of them ends."""
        placed = [*self._ahead, *((citation.end, citation) for citation in citations if citation.end is not None)]
        self._ahead = deque(sorted(placed, key=itemgetter(0)))
        self._unplaced += [citation for citation in citations if citation.end is None]

    def cut(self, text: str) -> Iterator[tuple[str, list[Citation]]]:
        """The text, each piece with the citations that end behind it; the last piece has none, and may be empty."""
        begun, start = self._position, 0
        while self._ahead and self._ahead[0][0] <= begun + len(text):
            end, cited = self._ahead[0][0], []
            while self._ahead and self._ahead[0][0] == end:
                cited.append(self._ahead.popleft()[1])
            yield text[start : end - begun], cited
            start, self._position = end - begun, end
        self._position = begun + len(text)
        yield text[start:], []

    def rest(self) -> list[Citation]:
        """Return the citations without a place, and those with a place beyond the end of the text."""
        rest = [*self._unplaced, *(citation for _, citation in self._ahead)]
        self._ahead, self._unplaced = deque(), []
        return rest

    def to_blocks(self, number: int) -> list[dict[str, Any]]:
        """Return a search and its results that have not been shown yet; nothing without new ones."""
        found = list(self._found.values())[self._told :]
        if not found:
            return []
        self._told += len(found)
        call_id = f"srvtoolu_{''.join(filter(str.isalnum, self._reply.message_id))}_{number}"
        results = [self._to_result(citation) for citation in found]
        return [
            {"type": "server_tool_use", "id": call_id, "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": call_id, "content": results},
        ]

    def to_file_block(self) -> dict[str, Any] | None:
        """The block that carries annotations of files, if there are any."""
        if not self._files:
            return None
        return {
            "type": "redacted_thinking",
            "data": seal(cast(Any, list(self._files.values())), FILES, self._reply.keyring),
        }

    def to_location(self, citation: Citation) -> dict[str, Any]:
        return {
            "type": "web_search_result_location",
            "url": citation.url,
            "title": citation.title,
            "cited_text": citation.text,
            "encrypted_index": citation.encrypted_index or self._sealed({"url": citation.url, "end": citation.end}),
        }

    def _add_file(self, annotation: Mapping[str, Any]) -> None:
        written = _written(annotation)
        if written in self._files:
            return
        if self._file_bytes + len(written) > MAX_FILE_BYTES:
            self.is_whole = False
            return
        self._file_bytes += len(written)
        self._files[written] = annotation

    def _to_result(self, citation: Citation) -> dict[str, Any]:
        return {
            "type": "web_search_result",
            "url": citation.url,
            "title": citation.title or citation.url,
            "encrypted_content": self._sealed({"url": citation.url, "text": citation.text}),
            "page_age": None,
        }

    def _sealed(self, content: dict[str, Any]) -> str:
        return seal([cast(Any, content)], self._reply.upstream_model, self._reply.keyring)


def is_known(annotation: Mapping[str, Any]) -> bool:
    """Return whether it is one of those that an answer can carry: what was read in a file, or what cites an address."""
    return annotation.get("type") == "file" or _read(annotation) is not None


def excerpt_of(result: Mapping[str, Any], keyring: Keyring) -> str:
    """The beginning of a search result's page, where the gateway itself had sealed it; else an empty string."""
    sealed = result.get("encrypted_content")
    envelope = open_envelope(sealed, keyring) if isinstance(sealed, str) else None
    if not isinstance(envelope, Envelope) or not envelope.entries:
        return ""
    return " ".join(to_string(envelope.entries[0].get("text")).split())[:EXCERPT_LENGTH]


def rejoin(parts: list[ContentPart], content: Sequence[Mapping[str, Any]], cited: Sequence[tuple[int, int]]) -> None:
    """Join text that was cut by its citations: each cited block with its neighbours of text.

    `cited`: the index of each cited block in `content`, and of its part.
    """
    continued = set()  # parts that belong to the one before them
    for block, part in cited:
        if block > 0 and content[block - 1]["type"] == "text":
            continued.add(part)
        if block + 1 < len(content) and content[block + 1]["type"] == "text":
            continued.add(part + 1)
    runs: list[list[Any]] = []
    for index, chat_part in enumerate(parts):
        if index in continued:
            runs[-1].append(chat_part)
        else:
            runs.append([chat_part])
    parts[:] = [run[0] if len(run) == 1 else _merge(run) for run in runs]


def _merge(run: Sequence[Mapping[str, Any]]) -> ContentPart:
    """Return one part with the text of all; another field, such as a breakpoint, is the last one's that has it."""
    merged = {name: value for part in run for name, value in part.items()}
    return cast(ContentPart, {**merged, "text": "".join([part["text"] for part in run])})


def _written(annotation: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(annotation, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        raise UpstreamError("The upstream sent annotations that nest too deeply.") from None


def _read(annotation: Mapping[str, Any]) -> Citation | None:
    """OpenAI's and OpenRouter's `url_citation`, or OpenRouter's copy of Anthropic's own."""
    details = annotation.get("url_citation", annotation)
    if annotation.get("type") not in KINDS or not isinstance(details, Mapping) or not to_string(details.get("url")):
        return None
    # Upstreams that know no positions leave them out, or set both to zero.
    start, end = details.get("start_index"), details.get("end_index")
    return Citation(
        url=details["url"],
        title=to_string(details.get("title")) or None,
        text=to_string(details.get("content")) or to_string(details.get("cited_text")),
        end=end if isinstance(end, int) and end > (start if isinstance(start, int) else 0) else None,
        encrypted_index=to_string(details.get("encrypted_index")) or None,
    )
