"""Refused answers in OpenAI's form: a completed response whose message has a `refusal` part.

Codex 0.171.0 repeats its request five times after a response that is incomplete by `content_filter`, and the SDKs parse
text as the format that was asked for, but not refusals.
"""

from collections.abc import Mapping
from typing import Any, Final

REFUSED: Final = "refusal"
# For upstreams that give no words; the part needs a text.
NO_WORDS: Final = "The model refused to answer."


def is_refused(message: Mapping[str, Any]) -> bool:
    return message.get("stop_reason") == REFUSED


def words_of(message: Mapping[str, Any]) -> str:
    details = message.get("stop_details")
    words = details.get("explanation") if isinstance(details, dict) else None
    return words if isinstance(words, str) and words else NO_WORDS


def to_refusal_part(words: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": words}


def to_refusal_item(identifier: str, words: str) -> dict[str, Any]:
    content = [to_refusal_part(words)]
    return {"id": identifier, "type": "message", "status": "completed", "role": "assistant", "content": content}


def with_refusal(output: list[dict[str, Any]], words: str, message_id: str) -> list[dict[str, Any]]:
    """Return the output with the refusal in the place of the text that repeats it, or behind all else.

    A call at the end is left out: it may be cut, and clients run the calls of a completed response.
    """
    if output and output[-1]["type"].endswith("_call"):
        output = output[:-1]
    for place, item in enumerate(output):
        if item["type"] == "message" and [part.get("text") for part in item["content"]] == [words]:
            return [*output[:place], to_refusal_item(item["id"], words), *output[place + 1 :]]
    identifier = f"msg_{message_id.removeprefix('msg_')}_{len(output)}"
    return [*output, to_refusal_item(identifier, words)]
