"""FILE.jsonl: one request of a batch per line, `{"custom_id": …, "params": {…}}`. Checked as a whole, then sent in
parts.

The file is read twice and never kept in memory: once to check every line and to find the ends of the parts, and once
for each part while it is sent. `params` only have to be an object here; the gateway checks them.
"""

import hashlib
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from gateway.batches.splitter import CUSTOM_ID_PATTERN, BatchLimits
from gateway.cli.console import CommandError, Exit

# A file with one mistake has it in every line.
MAX_PROBLEMS: Final = 10
# Maximum piece passed to the connection at once, except for a longer line.
PIECE_BYTES: Final = 256 * 1024
BEFORE: Final = b'{"requests":['
AFTER: Final = b"]}"
GZIP: Final = b"\x1f\x8b"
MARK: Final = b"\xef\xbb\xbf"  # editors on Windows put it at the start of a file


@dataclass(frozen=True, slots=True, repr=False)
class Line:
    """One request: its line number, from 1, and the bytes to send."""

    number: int
    body: bytes
    custom_id: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RequestsFile:
    """A scanned file. The n-th request has `custom_ids[n]`, `lines[n]` and `sizes[n]` bytes.

    `digests`: digest of each request by custom_id, which shows after an edit which requests have changed.
    """

    path: Path
    model: str | None
    custom_ids: list[str] = field(repr=False)
    lines: list[int]
    sizes: list[int]
    digest: str
    digests: dict[str, str] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.custom_ids)

    def parts(self, wanted: Iterable[int], limits: BatchLimits | None = None) -> list[list[int]]:
        """Split the wanted requests into as few batches as the limits allow, in order."""
        limits = limits or BatchLimits()
        parts: list[list[int]] = []
        room = 0
        for place in wanted:
            size = self.sizes[place] + 1
            if not parts or len(parts[-1]) >= limits.items or size > room:
                parts.append([])
                room = limits.bytes - len(BEFORE + AFTER)
            parts[-1].append(place)
            room -= size
        return parts

    def body_bytes(self, part: Sequence[int]) -> int:
        return len(BEFORE + AFTER) + sum(self.sizes[place] + 1 for place in part) - 1

    def body(self, part: Sequence[int]) -> Iterator[bytes]:
        """Yield the body that creates a batch of these requests. Raises CommandError if the file has changed."""
        piece = bytearray(BEFORE)
        for position, line in enumerate(self.read(part)):
            if position:
                piece += b","
            piece += line.body
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece + AFTER)

    def read(self, part: Iterable[int]) -> Iterator[Line]:
        """Yield the requests at these places, which ascend. Raises CommandError if the file has changed."""
        lines = enumerate(read_lines(self.path, self.model, _raise))
        for wanted in part:
            found = next((line for place, line in lines if place == wanted), None)
            if found is None or found.custom_id != self.custom_ids[wanted] or len(found.body) != self.sizes[wanted]:
                raise changed(self.path)
            yield found


def changed(path: Path, what: str = "has changed since it was first read") -> CommandError:
    return CommandError(f"{path} {what}", "put it back, or start over with --fresh")


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """Yield a path that can be read twice: the file itself, or a copy of a pipe.

    `-` is standard input. Messages about a copy name standard input.
    """
    if str(path) != "-" and not is_stream(path):
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="dragoman-", suffix=".jsonl") as copy:
        try:
            with sys.stdin.buffer if str(path) == "-" else path.open("rb") as source:
                shutil.copyfileobj(source, copy)
            copy.flush()
            yield Path(copy.name)
        except KeyboardInterrupt:
            raise CommandError("interrupted", status=Exit.INTERRUPTED) from None
        except OSError as error:
            raise CommandError(f"cannot read {path}: {error.strerror}", "give the path of a .jsonl file") from None
        except CommandError as error:
            error.message = error.message.replace(copy.name, "standard input")
            error.hint = error.hint.replace(copy.name, "FILE")
            raise


def is_stream(path: Path) -> bool:
    """Return True for pipes and devices, which can be read only once."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def check_file(path: Path, model: str | None = None, limits: BatchLimits | None = None) -> RequestsFile:
    """Read and check the whole file. `model` replaces that of every request. Raises CommandError that names each bad
    line."""
    problems = _Problems(path)
    seen: dict[str, int] = {}
    digests: dict[str, str] = {}
    lines: list[int] = []
    sizes: list[int] = []
    digest = hashlib.blake2b((model or "").encode() + b"\n", digest_size=16)
    for line in read_lines(path, model, problems.add):
        if line.custom_id in seen:
            problems.add(line.number, f"custom_id {line.custom_id!r} is that of line {seen[line.custom_id]} too")
        elif len(line.body) > (limits or BatchLimits()).item_bytes:
            problems.add(line.number, f"is {len(line.body):,} bytes long; a request has at most 32 MB")
        seen.setdefault(line.custom_id, line.number)
        lines.append(line.number)
        sizes.append(len(line.body))
        digest.update(line.body + b"\n")
        digests[line.custom_id] = hashlib.blake2b(line.body, digest_size=8).hexdigest()
    problems.raise_any()
    if not seen:
        raise CommandError(f"{path} holds no requests", 'a line looks like {"custom_id": "a", "params": {…}}')
    return RequestsFile(path, model, list(seen), lines, sizes, digest.hexdigest(), digests)


def read_lines(path: Path, model: str | None, refuse: Callable[[int, str], None]) -> Iterator[Line]:
    """Yield every good line; `refuse` receives the number of a bad one, and the reason. Skips empty lines."""
    for number, text in _texts(path):
        if not text:
            continue
        line = _to_line(number, text, model)
        if isinstance(line, str):
            refuse(number, line)
        else:
            yield line


def _texts(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            first = file.readline().removeprefix(MARK).strip()
            _refuse_other_forms(path, first)
            yield 1, first
            for number, raw in enumerate(file, 2):
                yield number, raw.strip()
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise CommandError(f"cannot read {path}: {reason}", "give the path of a .jsonl file") from None


def _refuse_other_forms(path: Path, start: bytes) -> None:
    """Raise CommandError for a file that is not JSON lines, with the command that converts it."""
    if start.startswith(GZIP):
        problem, hint = "is compressed with gzip", f"gunzip --stdout {path} | dragoman batch run - --output FILE"
    elif start.startswith(b"["):
        problem, hint = (
            "is a JSON array; here each line is one request",
            f"jq --compact-output '.[]' {path} > FILE.jsonl",
        )
    elif start == b"{":
        problem, hint = (
            "has a request on several lines; here each is on one",
            f"jq --compact-output . {path} > FILE.jsonl",
        )
    else:
        return
    raise CommandError(f"{path} {problem}", hint)


def _to_line(number: int, text: bytes, model: str | None) -> Line | str:
    """Return the request, or the problem with it."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"not valid JSON at column {error.colno}: {error.msg.partition(':')[0]}"
    problem = _problem_of(value)
    if problem is not None:
        return problem
    custom_id, params = value["custom_id"], value["params"]
    if model is not None:
        params = {**params, "model": model}
        text = orjson.dumps({"custom_id": custom_id, "params": params})
    return Line(number, text, custom_id, params)


def _problem_of(value: object) -> str | None:
    if not isinstance(value, dict):
        return "not an object"
    if "body" in value and "params" not in value:
        return "a line of OpenAI's batch format; here `params` holds a request of Anthropic's Messages"
    for name in ("custom_id", "params"):
        if name not in value:
            return f"{name} is missing"
    unknown = next((name for name in value if name not in ("custom_id", "params")), None)
    if unknown is not None:
        return f"{unknown[:64]!r} is not known here; a line has custom_id and params"
    if not isinstance(value["custom_id"], str) or not CUSTOM_ID_PATTERN.match(value["custom_id"]):
        return "custom_id must be 1 to 64 letters, digits, hyphens and underscores"
    return None if isinstance(value["params"], dict) else "params must be an object"


@dataclass(slots=True)
class _Problems:
    path: Path
    found: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, number: int, problem: str) -> None:
        self.count += 1
        if len(self.found) < MAX_PROBLEMS:
            self.found.append(f"{self.path}:{number}: {problem}")

    def raise_any(self) -> None:
        if not self.count:
            return
        more = self.count - len(self.found)
        rest = [f"… and {more} more"] if more else []
        raise CommandError("\n".join(self.found + rest), "nothing was sent; correct these lines and run it again")


def _raise(number: int, problem: str) -> None:
    raise CommandError(f"line {number}: {problem}", "the file has changed since it was first read")
