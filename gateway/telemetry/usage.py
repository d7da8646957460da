"""The usage record: one value that an exchange fills, and that logs, metrics, budgets and calibration read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.context import Context
from gateway.messages.tokens.estimate import TokenEstimate

# Status in records, log lines and metrics when the client left before its answer was complete (nginx's convention).
CLIENT_GONE = 499


@dataclass(slots=True)
class Attempted:
    """One call of an exchange. `outcome`: status or word for people. `kind`: outcome for metrics, from a closed set."""

    upstream: str
    outcome: str
    seconds: float
    kind: str = "ok"
    begun: float = 0.0  # on the exchange's clock
    model: str = ""  # as it was sent
    span_id: str = ""  # of a traced call


@dataclass(slots=True)
class UsageRecord:
    """Record of one exchange. Filled while it runs; complete once the exchange has returned or raised.

    `model` is the requested one, `upstream_model` what it was routed to, `served_model` what answered; tokens are
    Anthropic's (input without cached), and the estimates are of all input; cost is in US dollars, None where the
    upstream reports none; times are in seconds. `cache` is the prompt cache's part in it: hit, miss or wait, empty
    where it had none; an answer without an upstream call has neither tokens nor a cost.
    """

    context: Context
    model: str = ""
    upstream_model: str = ""
    served_model: str | None = None
    upstream: str = ""
    dialect: str = ""
    provider: str | None = None
    generation_id: str | None = None
    message_id: str = ""
    upstream_request_id: str | None = None  # of an upstream that speaks Messages
    stream: bool = False
    status: int = 200
    error_type: str | None = None
    origin: str = ""  # party at fault and cause of a failure: `gateway.upstream.health.causes`
    cause: str = ""
    upstream_status: int | None = None  # of the answer that failed
    upstream_words: str = field(default="", repr=False)  # as they came, possibly with secrets
    stop_reason: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    usage: Mapping[str, Any] | None = field(default=None, repr=False)  # all that is billed, in Anthropic's fields
    estimated: bool = False
    mismatched: bool = False  # the upstream's counts do not add up
    size_estimate: TokenEstimate | None = None
    text_estimate: TokenEstimate | None = None
    cost: float | None = None
    hedge_cost: float = 0.0  # of the prompt of a call that was cancelled because another one answered first
    attempts: int = 0
    attempted: list[Attempted] = field(default_factory=list)
    begun: float = 0.0  # on the exchange's clock: when a live request had arrived whole
    header_seconds: float | None = None  # of the last call
    waited_seconds: float = 0.0  # for upstreams, and between attempts
    first_content_seconds: float | None = None
    duration_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    cache: str = ""

    def attempts_line(self) -> str:
        """Return the calls so far, in order: `a 503 0.21s, b 200 1.30s`."""
        return ", ".join([f"{one.upstream} {one.outcome} {one.seconds:.2f}s" for one in self.attempted])
