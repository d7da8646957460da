"""State of a run besides its results, so that the same command can resume it.

A batch is recorded before it is sent, with its idempotency key; then its id; then that its results are stored. A run
can be stopped at any moment, and the next one continues from the recorded state.
"""

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import orjson

from gateway.cli.api import without_userinfo
from gateway.cli.batch.requests_file import RequestsFile
from gateway.cli.batch.results_file import OWNER_ONLY, atomically
from gateway.cli.console import CommandError

# An older command refuses a newer state rather than send its batches again.
STATE_VERSION: Final = 2
# Without the requests' digests: such a run goes on, but its file cannot be edited.
OLDEST_VERSION: Final = 1
SUFFIX: Final = ".run.json"


@dataclass(slots=True)
class SentBatch:
    """`items` are ranges of places in the file of requests, both ends included; `id` is empty until it is known."""

    idempotency_key: str = field(repr=False)
    items: list[list[int]]
    id: str = ""
    collected: bool = False
    cost: float | None = None  # in dollars, once it has ended, where the server reports it

    @property
    def places(self) -> list[int]:
        return [place for first, last in self.items for place in range(first, last + 1)]

    @property
    def count(self) -> int:
        return sum(last - first + 1 for first, last in self.items)


@dataclass(slots=True)
class RunState:
    """`digest` is that of the requests together, `requests` of each, by custom_id; `rounds` are the attempts so far,
    each some batches. `begun` and `ended`, when results were last stored, are in seconds since 1970, `spent` in dollars
    for the rounds before an edit. `url` holds no password; `mode` are the permissions of the file.
    """

    path: Path
    url: str = field(repr=False)
    digest: str
    rounds: list[list[SentBatch]] = field(default_factory=list)
    mode: int = OWNER_ONLY
    requests: dict[str, str] = field(default_factory=dict, repr=False)
    begun: float = 0.0
    spent: float = 0.0
    ended: float = 0.0

    def begin_round(self, parts: Iterable[list[int]]) -> None:
        self.rounds.append([SentBatch(f"dragoman-run-{secrets.token_hex(12)}", to_ranges(part)) for part in parts])
        self.save()

    @property
    def open_batches(self) -> list[SentBatch]:
        """Batches without collected results, oldest first."""
        return [batch for batches in self.rounds for batch in batches if not batch.collected]

    def begin_again(self, requests: RequestsFile, parts: Iterable[list[int]]) -> None:
        """Continue with an edited file, after all batches of the earlier one have been collected."""
        self.spent = self.cost or 0.0
        self.digest, self.requests, self.rounds = requests.digest, requests.digests, []
        self.begin_round(parts)

    @property
    def cost(self) -> float | None:
        """Return the dollars for everything that was sent; None if the server reports none."""
        costs = [batch.cost for batches in self.rounds for batch in batches]
        known = [cost for cost in costs if cost is not None]
        return self.spent + sum(known) if known or self.spent else None

    def forget_collected(self) -> None:
        """Record that the results were lost: they are fetched again, so that the requests are not resent."""
        for batches in self.rounds:
            for batch in batches:
                batch.collected = False

    def save(self) -> None:
        rounds = [[asdict(batch) for batch in batches] for batches in self.rounds]
        value = {"version": STATE_VERSION, "url": self.url, "digest": self.digest, "begun": self.begun}
        value |= {"ended": self.ended, "spent": self.spent, "rounds": rounds, "requests": self.requests}
        with atomically(self.path, self.mode) as file:
            file.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")

    @classmethod
    def load(cls, path: Path, mode: int = OWNER_ONLY) -> Self | None:
        """Return the stored state; None without one. Raises CommandError if it cannot be read."""
        try:
            value: dict[str, Any] = orjson.loads(path.read_bytes())
            if not OLDEST_VERSION <= value["version"] <= STATE_VERSION:
                raise ValueError(f"version {value['version']}")
            rounds = [[SentBatch(**batch) for batch in batches] for batches in value["rounds"]]
            state = cls(path, without_userinfo(value["url"]), value["digest"], rounds, mode)
            state.requests = dict(value.get("requests", {}))
            state.begun, state.spent = float(value.get("begun", 0.0)), float(value.get("spent", 0.0))
            state.ended = float(value.get("ended", 0.0))
            return state
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CommandError(f"cannot read {path}: {error}", "start over with --fresh") from None


def state_path(output: Path) -> Path:
    return output.with_name(output.name + SUFFIX)


def to_ranges(places: Iterable[int]) -> list[list[int]]:
    """Return ascending places as ranges: 100,000 consecutive ones are two numbers."""
    return [[first, last] for first, last in _ranges(places)]


def _ranges(places: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = last = -1
    for place in places:
        if place == last + 1 and first >= 0:
            last = place
            continue
        if first >= 0:
            yield first, last
        first = last = place
    if first >= 0:
        yield first, last
