"""Damaged answers of simulated servers: recorded streams cut anywhere and ended oddly, and changed errors."""

import unicodedata
from pathlib import Path
from random import Random
from typing import Any

import orjson

from gateway.dialects.chat.request.convert import Conversion
from gateway.dialects.chat.request.fallbacks.apply import adapted
from gateway.dialects.chat.request.fallbacks.refusals import to_adaptation
from gateway.dialects.chat.response.errors.client_error import to_error
from gateway.errors import GatewayError
from gateway.simulator.vendors.rows import ROWS
from gateway.simulator.vendors.words import SENTENCES, refusal_of, to_refusal
from tests.dialects.chat.request.test_refusals import BODY
from tests.support.conversions import STRICT
from tests.support.damage import Mutator, damaged
from tests.support.streams import reply

RECORDINGS = Path(__file__).parents[1] / "simulator" / "vendors"
VENDOR_STREAMS = [path.read_bytes() for path in sorted(RECORDINGS.glob("*.sse"))]
MAX_SENTENCE = 4000

# How streams end that their servers did not end, or ended in their own way.
ENDINGS = (
    b"",
    b"data: [DONE]\n\n",
    b"data: [done]\n\n",
    b"data: DONE",
    b"event: done\ndata: \n\n",
    b"event: error\ndata: the engine died\n\n",
    b'data: {"error": {"message": "the engine died", "code": 502}}\n\n',
    b'{"error": "the engine died"}\n',
    b'error: {"code": 500}\n\n',
    b"data: [ERROR] the engine died\n\n",
    b"<html><body>502 Bad Gateway</body></html>",
    b": still here\n\n",
    b"data: null\n\ndata: {}\n\n",
    b'data: {"choices": [], "usage": {"input_tokens": 3, "output_tokens": 4}}\n\n',
    b'data: {"choices": [{"delta": {}, "finish_reason": "MAX_TOKENS"}]}\n\ndata: [DONE]\n\n',
    b'data: {"choices": [{"message": {"content": "all of it"}, "finish_reason": "stop"}]}\n\n',
)

# Facts for the sentences: numbers, and names of the request's fields.
FACTS: dict[str, Any] = {
    "name": "temperature",
    "value": "none",
    "limit": 4096,
    "size": 5000,
    "tokens": 300_000,
    "asked": 100,
    "total": 300_100,
    "index": 2,
    "role": "assistant",
    "listed": "'low', 'medium'",
    "other": "max_completion_tokens",
    "place": "('properties', 'n')",
    "model": "m",
    "id": "call_0123456789",
}


def recorded_refusals() -> list[tuple[int, Any]]:
    """The status and the body of each refusal that a simulated server has words for."""
    found: list[tuple[int, Any]] = []
    for row in ROWS:
        for kind in SENTENCES:
            status = int(kind) if kind.isdigit() else 400
            script = to_refusal(row.errors, refusal_of(kind, status=status, **FACTS))
            (payload,) = script.steps
            assert isinstance(payload, bytes)
            found.append((script.status, orjson.loads(payload)))
    return found


REFUSALS = recorded_refusals()
REFUSAL_MUTATOR = Mutator([body for _, body in REFUSALS])


def odd_stream(random: Random) -> bytes:
    """A recorded stream, cut somewhere, with an ending of another kind, and now and then with other line ends."""
    stream = random.choice(VENDOR_STREAMS)
    end = len(stream) if random.random() < 0.3 else random.randrange(len(stream) + 1)
    stream = stream[:end] + random.choice(ENDINGS)
    match random.randrange(6):
        case 0:
            return stream.replace(b"\n\n", b"\n")
        case 1:
            return stream.replace(b"\n", b"\r\n")
        case 2:
            return b"\xef\xbb\xbf" + stream
        case 3:
            return damaged(stream, random, 1)
        case _:
            return stream


def fuzz_refusals(random: Random) -> str:
    """Check that a changed refusal causes at most one second try, and that its words are fit for a client."""
    status, body = random.choice(REFUSALS)
    if random.random() < 0.7:
        body = REFUSAL_MUTATOR.mutate(body, random, random.randrange(1, 4))
    raw = orjson.dumps(body)
    if random.random() < 0.2:
        raw = damaged(raw, random, 1)
    error = to_error(random.choice((status, 400, 422, 500)), {}, raw, reply())
    assert isinstance(error, GatewayError)
    assert len(error.message) <= MAX_SENTENCE
    assert not any(unicodedata.category(letter) == "Cc" for letter in error.message), error.message
    conversion = Conversion(orjson.loads(orjson.dumps(BODY)))
    adaptation = to_adaptation(error, conversion, STRICT)
    if adaptation is None:
        return "handed on"
    changed = adapted(conversion, [adaptation])
    assert changed is not conversion
    assert orjson.dumps(changed.body) != orjson.dumps(conversion.body)
    assert adapted(changed, [adaptation]) is changed, "an adaptation changes what it has changed"
    return "adapted"
