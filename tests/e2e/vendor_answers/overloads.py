"""Answers of status 200 that say that a server has no room, in words of OpenAI's, by which Codex asks again."""

from typing import Any, Final

import orjson

from tests.e2e.vendor_answers.script import Json, Meant, Script, chunk, completion, streamed, whole
from tests.e2e.vendor_answers.shapes import raw

FULL: Final = Meant(error=529)
WORDS: Final = ("server_is_overloaded", "slow_down")
LATER: Final = "Please try again later."


def failures(word: str) -> dict[str, Json]:
    """Forms of a failure that any API may have, each with its name."""
    return {
        "a code": {"error": {"code": word, "message": LATER}},
        "a code of another type": {"error": {"type": "service_unavailable_error", "code": word, "message": LATER}},
        "a type": {"error": {"type": word, "message": LATER}},
        "an envelope": {"type": "error", "error": {"type": "api_error", "code": word, "message": LATER}},
        "fields of an error": {"type": "error", "code": word, "message": LATER},
    }


def response(**fields: Any) -> Json:
    return {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], **fields}


ANY: Final = tuple(
    one
    for word in WORDS
    for name, failure in failures(word).items()
    for one in (
        whole(f"{word}: {name}", FULL, failure),
        streamed(f"{word}: {name} in an event", FULL, failure, done=False),
        raw(f"{word}: {name} in an event named error", FULL, b"event: error\ndata: " + orjson.dumps(failure) + b"\n\n"),
    )
)
CHAT: Final[tuple[Script, ...]] = (
    *ANY,
    *[whole(f"{word}: a finish reason", FULL, completion({"content": ""}, word)) for word in WORDS],
    *[streamed(f"{word}: a finish reason in a stream", FULL, chunk({}, word)) for word in WORDS],
)
MESSAGES: Final[tuple[Script, ...]] = (
    *ANY,
    *[
        whole(
            f"{word}: a stop reason",
            FULL,
            {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": word},
        )
        for word in WORDS
    ],
)
RESPONSES: Final[tuple[Script, ...]] = (
    *ANY,
    *[whole(f"{word}: of a response", FULL, response(status="failed", error={"code": word})) for word in WORDS],
    *[whole(f"{word}: a text as error", FULL, response(status="failed", error=word)) for word in WORDS],
    *[
        whole(
            f"{word}: why a response is incomplete",
            FULL,
            response(status="incomplete", incomplete_details={"reason": word}),
        )
        for word in WORDS
    ],
)
