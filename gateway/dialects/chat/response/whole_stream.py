"""A text answer whose whole stream came in one read, for a client that wants one JSON answer.

Fast servers, caches and buffering proxies send streams so. All strings are parsed together, which takes half of the
time of taking event after event. Only what leaves no doubt is read so: chunks of one choice that bring text, then a
reason to finish, then `[DONE]`. Any other stream goes the full way (`stream`).
"""

from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import orjson

from gateway.dialects.chat.response.delta import TEXT_FIELDS
from gateway.dialects.chat.response.fast_path import TEXT_KEY, frame_of
from gateway.dialects.chat.response.filters.chain import passes_unchanged
from gateway.dialects.chat.response.usage import counts_of
from gateway.dialects.chat.vocabulary import DONE_EVENT
from gateway.dialects.reply import Reply
from gateway.sse import CR, DATA, DATA_SIZE, END

LAST = END + DONE_EVENT
BETWEEN = END + DATA
# Events that are parsed one by one, each with a search in the rest of the piece for others like it.
MAX_PARSED = 8
CHOICE_FIELDS = frozenset({"delta", "finish_reason", "native_finish_reason"})


@dataclass(slots=True, repr=False)
class WholeText:
    """`choice` is the one with the reason to finish, `facts` the last chunk with a model."""

    text: str
    choice: dict[str, Any]
    facts: dict[str, Any]
    counts: dict[str, Any] | None


def to_whole_text(piece: bytes, reply: Reply) -> WholeText | None:
    """Return the answer of a whole stream of text; None for any other, and for text that a filter may change."""
    while piece.startswith(b":") and piece.find(b"\n") == piece.find(END):  # a comment
        piece = piece[piece.find(END) + len(END) :]
    whole = _read_whole(piece)
    if whole is None or not whole.text or whole.text.isspace():
        return None
    return whole if passes_unchanged(whole.text, reply) else None


def _read_whole(piece: bytes) -> WholeText | None:
    events = _events_of(piece)
    if events is None:
        return None
    texts: list[str] = []
    facts: dict[str, Any] = {}
    counts = choice = reason = None
    ending = facts
    place = 0
    for _ in range(MAX_PARSED):
        event = events[place]
        place += 1
        chunk = _parsed(event)
        if chunk is None:
            return None
        if not facts or "model" in chunk:
            facts = chunk
        if chunk.get("usage"):
            counts = counts_of(chunk) or counts
        choices = chunk.get("choices")
        if choices:
            text = _text_of(choices)
            if text is None or reason:
                return None
            choice, ending = choices[0], chunk
            reason = choice.get("finish_reason")
            if text:
                texts.append(text)
                place = _take_run(piece, events, place, texts)
        elif not chunk.get("usage"):
            return None
        if place == len(events):
            break
    if place < len(events) or choice is None or not reason:
        return None
    # Groq has them in an object of its own beside the reason.
    return WholeText("".join(texts), choice, facts, counts or counts_of(ending))


def _events_of(piece: bytes) -> list[bytes] | None:
    """Return the data of a whole stream's events, without the mark at the end."""
    if not (piece.startswith(DATA) and piece.endswith(LAST)) or CR in piece:
        return None
    events = piece.split(BETWEEN)
    events.pop()
    events[0] = events[0][DATA_SIZE:]
    return events


def _parsed(event: bytes) -> dict[str, Any] | None:
    """Return the chunk of an event that reports no failure; None for one of other lines, too."""
    try:
        chunk = orjson.loads(event)
    except orjson.JSONDecodeError:
        return None
    is_plain = isinstance(chunk, dict) and not chunk.get("error") and "base_resp" not in chunk
    return chunk if is_plain else None


def _text_of(choices: Any) -> str | None:
    """Return the text of a chunk's choices; None where they bring anything else."""
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    choice = choices[0]
    delta, reason = choice.get("delta"), choice.get("finish_reason")
    if not isinstance(delta, dict) or any(map(choice.get, choice.keys() - CHOICE_FIELDS)):
        return None
    if not isinstance(reason, str) and (reason or choice.get("native_finish_reason")):
        return None
    if not delta.keys() <= TEXT_FIELDS and any(delta[name] is not None for name in delta.keys() - TEXT_FIELDS):
        return None
    text = delta.get("content") or ""
    return text if isinstance(text, str) else None


def _take_run(piece: bytes, events: list[bytes], place: int, texts: list[str]) -> int:
    """Take the texts of the events from `place` on that differ from the one before in nothing else.

    Returns where they end.
    """
    frame = frame_of(events[place - 1], TEXT_KEY, texts[-1])
    if frame is None:
        return place
    before, after = frame
    end = len(events)
    while end > place and not events[end - 1].endswith(after):
        end -= 1
    if end == place or not events[place].startswith(before):
        return place
    strings = list(map(itemgetter(slice(len(before), -len(after))), events[place:end]))
    # Their frames are compared all at once. A quote would end one of the strings, and make it two.
    start = DATA_SIZE + sum(map(len, events[:place])) + place * len(BETWEEN) + len(before)
    if not piece.startswith((after + BETWEEN + before).join(strings), start):
        return place
    try:
        found = orjson.loads(b'["%b"]' % b'","'.join(strings))
    except orjson.JSONDecodeError:
        return place
    if len(found) != len(strings):
        return place
    texts += found
    return end
