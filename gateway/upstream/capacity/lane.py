"""The limits that an operator has set for one upstream with one key, and the calls to it in the last minute. Pure.

The same rule as `lane.lua`, for one process: with Redis the script decides for all of them, and this for the time that
it does not answer.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from math import floor, sqrt
from typing import Final

MINUTE: Final = 60.0
# A batch leaves the rest of every limit to live requests: their load is not known a moment ahead.
BATCH_SHARE: Final = 0.9
# When to ask again after all calls at once were taken: one may end at any time.
FULL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """Calls at once (`concurrency`; `batch`: those of batches), calls and tokens a minute; None is no limit."""

    concurrency: int | None = None
    batch: int | None = None
    rpm: int | None = None
    tpm: int | None = None

    def of_call(self, *, is_batch: bool, is_low: bool = False) -> "LaneLimits":
        """Return the limits that apply to a call: for a batch's, what live requests leave, less a margin.

        `is_low`: a live call that leaves the same margin to those of a higher priority.
        """
        if not is_batch and not is_low:
            return replace(self, batch=None)
        most = None if self.concurrency is None else max(1, floor(less_margin(self.concurrency)))
        rpm, tpm = part_of(self.rpm, BATCH_SHARE), part_of(self.tpm, BATCH_SHARE)
        if not is_batch:
            return LaneLimits(most, None, rpm, tpm)
        if self.batch is not None:
            return LaneLimits(part_of(self.concurrency, BATCH_SHARE), self.batch, rpm, tpm)
        return LaneLimits(most, most, rpm, tpm)

    def shared(self, share: float) -> "LaneLimits":
        """Return this process's part, at least one of each."""
        batch = self.batch if not self.batch else part_of(self.batch, share)
        return LaneLimits(part_of(self.concurrency, share), batch, part_of(self.rpm, share), part_of(self.tpm, share))


def less_margin(calls: float) -> float:
    """Return the most of the calls at once that batches may take: live load varies by about the root of their number.

    With a tenth, 6 % of the live requests beside a batch waited at 40 calls, with this 3 % (simulated).
    """
    return min(BATCH_SHARE * calls, calls - sqrt(calls))


def part_of(limit: int | None, share: float) -> int | None:
    return None if limit is None else max(1, floor(limit * share))


@dataclass(slots=True)
class LaneCall:
    """A call, with the tokens that are reserved for it. `id` names it in Redis."""

    lane: str
    id: str
    tokens: int
    is_batch: bool


@dataclass(slots=True)
class LaneUse:
    """The calls of this process to one lane: those in flight, and those of the last minute with their tokens."""

    running: dict[str, LaneCall] = field(default_factory=dict)
    batches: int = 0  # of those in flight
    _calls: deque[float] = field(default_factory=deque)
    _tokens: dict[str, tuple[float, int]] = field(default_factory=dict)  # in the order of their times
    _sum: int = 0

    def wait(self, limits: LaneLimits, tokens: int, now: float) -> tuple[float, str]:
        """Return the seconds until a call may begin, and the limit that is reached; 0 seconds if it may."""
        self._forget(now)
        waits = [(0.0, "")]
        if limits.concurrency is not None and len(self.running) >= limits.concurrency:
            waits.append((FULL_SECONDS, "concurrency"))
        if limits.batch is not None and self.batches >= limits.batch:
            waits.append((FULL_SECONDS, "batch"))
        if limits.rpm is not None and len(self._calls) >= limits.rpm:
            waits.append((self._calls[-limits.rpm] + MINUTE - now, "rpm"))
        if limits.tpm is not None:
            waits.append((self._until_tokens(limits.tpm - tokens, now), "tpm"))
        return max(waits)

    def enter(self, call: LaneCall, now: float) -> None:
        self.running[call.id] = call
        self.batches += call.is_batch
        self._calls.append(now)
        self._count(call.id, call.tokens, now)

    def leave(self, call: LaneCall, used: int, now: float) -> None:
        """End a call. Tokens beyond those that were reserved count from now on."""
        if self.running.pop(call.id, None) is not None:
            self.batches -= call.is_batch
        if used > call.tokens:
            self._count(f"{call.id}:more", used - call.tokens, now)
        elif call.id in self._tokens:
            begun, counted = self._tokens[call.id]
            self._tokens[call.id] = begun, used
            self._sum += used - counted

    def _count(self, name: str, tokens: int, now: float) -> None:
        self._tokens[name] = now, tokens
        self._sum += tokens

    def _until_tokens(self, room: int, now: float) -> float:
        """Return the seconds until at most `room` tokens were used in the last minute."""
        over = self._sum - room
        if over <= 0:
            return 0.0
        for at, tokens in self._tokens.values():
            over -= tokens
            if over <= 0:
                return at + MINUTE - now
        return MINUTE

    def _forget(self, now: float) -> None:
        while self._calls and self._calls[0] <= now - MINUTE:
            self._calls.popleft()
        while self._tokens:
            name, (at, tokens) = next(iter(self._tokens.items()))
            if at > now - MINUTE:
                break
            self._sum -= tokens
            del self._tokens[name]
