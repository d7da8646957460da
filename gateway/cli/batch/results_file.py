"""The results of a run: one line a request, in the order of the requests, replaced whole and at once.

A run over several batches merges each batch's results into it. Only places of lines are held in memory, never lines.
"""

import os
import stat
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import orjson

from gateway.cli.console import CommandError

# Temporary errors: the request was not at fault, and a retry may succeed without a fix.
PASSING_ERRORS: Final = frozenset({"rate_limit_error", "overloaded_error", "api_error", "timeout_error"})

INPUT_FIELDS: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")

# Answers may be private: other users of the machine do not read them unless they can read the requests.
OWNER_ONLY: Final = 0o600
NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)

SUCCEEDED: Final = "succeeded"
MISSING: Final = "missing"
# The number of failed requests that are named.
SHOWN_FAILURES: Final = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one request. `error`: type of its error; `example`: its message.

    `tokens`: input and output tokens of a message, including cached input.
    """

    kind: str
    error: str = ""
    example: str = field(default="", repr=False)
    tokens: tuple[int, int] = (0, 0)

    @property
    def may_pass(self) -> bool:
        """Return True if a retry without changes may succeed."""
        return self.kind in ("expired", MISSING) or (self.kind == "errored" and self.error in PASSING_ERRORS)


@dataclass(frozen=True, slots=True)
class ResultPosition:
    """Position of a result: file, offset and length."""

    path: Path
    start: int
    length: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """A request without success: its line in the file, its outcome, and the type of its error."""

    line: int
    custom_id: str = field(repr=False)
    kind: str
    error: str


@dataclass(slots=True)
class OutcomeCounts:
    """Number of requests by outcome and by type of error, with one message each; the first failures; total tokens."""

    kinds: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict, repr=False)
    failed: list[FailedRequest] = field(default_factory=list, repr=False)
    failures: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, outcome: Outcome, line: int, custom_id: str) -> None:
        self.kinds[outcome.kind] += 1
        self.input_tokens += outcome.tokens[0]
        self.output_tokens += outcome.tokens[1]
        if outcome.error:
            self.errors[outcome.error] += 1
            self.examples.setdefault(outcome.error, outcome.example)
        if outcome.kind == SUCCEEDED:
            return
        self.failures += 1
        if len(self.failed) < SHOWN_FAILURES:
            self.failed.append(FailedRequest(line, custom_id, outcome.kind, outcome.error))

    @property
    def all_succeeded(self) -> bool:
        return set(self.kinds) <= {SUCCEEDED}

    @property
    def text(self) -> str:
        return ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.most_common()) or "no results"


def find_results(path: Path) -> dict[str, ResultPosition]:
    """Return the positions of results by custom_id; empty without the file. Raises CommandError for another kind of
    file."""
    found: dict[str, ResultPosition] = {}
    start = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                custom_id, outcome = read_result(line, f"{path}:{number}")
                found[custom_id] = ResultPosition(path, start, len(line), outcome)
                start += len(line)
    except FileNotFoundError:
        # The first round: there are no results yet.
        return {}
    return found


def read_result(line: bytes, where: str) -> tuple[str, Outcome]:
    try:
        value = orjson.loads(line)
        return value["custom_id"], _to_outcome(value["result"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise CommandError(f"{where}: not a line of results", "is this the file of another program?") from None


def write_merged(
    path: Path, custom_ids: Iterable[str], *newer_first: dict[str, ResultPosition], mode: int = OWNER_ONLY
) -> None:
    """Write the newest result of each id, in the order of the ids; ids without a result are left out."""
    with atomically(path, mode) as output, _Readers() as readers:
        for custom_id in custom_ids:
            place = next((places[custom_id] for places in newer_first if custom_id in places), None)
            if place is not None:
                output.write(readers.read(place))


async def write_pieces(path: Path, pieces: AsyncIterator[bytes], mode: int = OWNER_ONLY) -> None:
    """Write all pieces. After a failure the file is unchanged."""
    with atomically(path, mode) as output:
        async for piece in pieces:
            output.write(piece)


@contextmanager
def atomically(path: Path, mode: int = OWNER_ONLY) -> Iterator[IO[bytes]]:
    """Yield a file beside `path` that replaces it when the block ends without an error. Raises CommandError.

    Its permissions are `mode` without the bits of the umask. In a directory that others may write to, a link planted
    under its name is removed and never followed.
    """
    beside = path.with_name(path.name + ".part")
    try:
        beside.unlink(missing_ok=True)
        with open(os.open(beside, NEW_FILE, mode), "wb") as file:  # noqa: PTH123 - a descriptor
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}", "give another path with --output") from None
    finally:
        beside.unlink(missing_ok=True)


def mode_of(path: Path) -> int:
    """Return the permissions of the file: results are as sensitive as their requests."""
    try:
        return stat.S_IMODE(path.stat().st_mode) & 0o666 | OWNER_ONLY
    except OSError:
        return OWNER_ONLY


class _Readers:
    """Files that are opened on first use, and stay open while the context lasts."""

    def __init__(self) -> None:
        self._files: dict[Path, IO[bytes]] = {}

    def __enter__(self) -> "_Readers":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def read(self, place: ResultPosition) -> bytes:
        file = self._files.get(place.path)
        if file is None:
            file = self._files[place.path] = place.path.open("rb")
        file.seek(place.start)
        return file.read(place.length).rstrip(b"\n") + b"\n"


def _to_outcome(result: dict[str, object]) -> Outcome:
    if result["type"] != "errored":
        message = result.get("message")
        usage = (message.get("usage") or {}) if isinstance(message, dict) else {}
        inputs = sum(usage.get(name) or 0 for name in INPUT_FIELDS)
        return Outcome(str(result["type"]), tokens=(inputs, usage.get("output_tokens") or 0))
    envelope = result["error"]
    assert isinstance(envelope, dict)
    error = envelope.get("error", envelope)
    return Outcome("errored", str(error["type"]), str(error.get("message", "")))
