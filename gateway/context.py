"""Context of an exchange: its client, the rules for it, and its place in a trace or a batch.

`web/auth` makes one for each live request, `workers/execute` for each item of a batch; everything below takes it as an
argument. How an exchange ended is in the usage record (`telemetry/usage`), which refers to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Priority = Literal["live", "batch"]


@dataclass(slots=True)
class Trace:
    """Place of a request in a distributed trace. Ids are hexadecimal; `parent_id` is empty where no client began it.

    `attributes`: what was asked for, as span attributes.
    """

    trace_id: str
    span_id: str
    parent_id: str
    is_sampled: bool
    attributes: dict[str, str | int | float | bool | Sequence[str]] = field(default_factory=dict)

    def to_header(self, span_id: str) -> str:
        """Return the `traceparent` (W3C Trace Context, level 1) that makes a span of this trace the parent."""
        return f"00-{self.trace_id}-{span_id}-{int(self.is_sampled):02x}"


@dataclass(slots=True)
class Context:
    """Client of an exchange, and its rules. `deadline` is on `time.monotonic`, None without one.
    `arrived` is on it too: when all of a live request was there, 0 for others.

    `forwarded`: headers of the request that upstreams may get; `credentials`: those with the caller's own key for an
    upstream. `batch`, `item`, `custom_id`: the batch of this exchange, and its item there, by index and by the name
    that the client gave it.
    """

    request_id: str
    tenant: str = "default"
    key_id: str = ""
    user: str = ""
    priority: Priority = "live"
    deadline: float | None = None
    arrived: float = 0.0
    api_version: str = "2023-06-01"
    betas: frozenset[str] = frozenset()
    trace_parent: str | None = None
    trace: Trace | None = None  # None without tracing
    session_id: str | None = None
    agent_id: str | None = None
    parent_agent_id: str | None = None
    forwarded: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    credentials: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    batch: str | None = None
    item: int | None = None
    custom_id: str | None = field(default=None, repr=False)
    is_logged: bool = False  # whether a log line with the request's id has been written
    reply_lines: str = field(default="", repr=False)  # of the reply's header; known once it has been admitted
