"""The golden directories: what an upstream sent, and what a client must read.

`golden/<case>/upstream.sse` is the upstream's stream. `events.sse` is the client's stream, `message.json` its message,
or `failure.json` the failure it stops at. Optional: `reply.json`, fields of the `Reply` that differ from
`streams.reply`; `completion.json`, the JSON answer that says the same as the stream.

Envelopes are written open, since their sealed form depends on the machine's zlib.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gateway.dialects.reply import Reply
from gateway.errors import to_envelope
from gateway.messages.envelope import Envelope, open_envelope
from gateway.messages.fold import fold_events
from tests.support.streams import KEYRING, Told, convert, reply

ROOT = Path(__file__).parents[1] / "dialects" / "chat" / "golden"
SEALED = re.compile(rb'"gw2\.k1\.[\w.-]+"')


@dataclass(frozen=True, slots=True)
class Case:
    name: str

    @property
    def folder(self) -> Path:
        return ROOT / self.name

    def has(self, file: str) -> bool:
        return (self.folder / file).exists()

    def read(self, file: str) -> bytes:
        return (self.folder / file).read_bytes()

    def json(self, file: str) -> Any:
        return orjson.loads(self.read(file))

    @property
    def upstream(self) -> bytes:
        return self.read("upstream.sse")

    @property
    def reply(self) -> Reply:
        fields = self.json("reply.json") if self.has("reply.json") else {}
        return reply(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


CASES = [Case(path.name) for path in sorted(ROOT.iterdir())]


def outcome(case: Case) -> dict[str, bytes]:
    """Convert a case's stream. Return the results by the names of the files with the expected ones."""
    told = convert(case.upstream, case.reply)
    files = {"events.sse": opened(told.output)}
    if told.failure is None:
        files["message.json"] = to_json(message_of(told))
    else:
        error = told.failure
        failure = {"status": error.status, "started": told.stream.started, "envelope": to_envelope(error, "req_1")}
        files["failure.json"] = to_json(failure)
    return files


def message_of(told: Told) -> dict[str, Any]:
    """Return the folded message, without the cost, which a JSON answer has in a header."""
    message = fold_events(told.events)
    message["usage"].pop("cost", None)
    return message


def to_json(value: Mapping[str, Any]) -> bytes:
    return opened(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def opened(output: bytes) -> bytes:
    return SEALED.sub(lambda found: orjson.dumps(_contents(orjson.loads(found[0]))), output)


def _contents(sealed: str) -> str:
    envelope = open_envelope(sealed, KEYRING)
    assert isinstance(envelope, Envelope)
    return f"envelope of {envelope.model}: {orjson.dumps(envelope.entries).decode()}"
