"""Facts that the chunks of a stream state besides its content: model, provider, tier, and the count of tokens.

The last chunk with a model is kept, without its choices; a count stays as it came until the end, when it is read once.
"""

from typing import Any

from gateway.dialects.base import Origin
from gateway.dialects.chat.response.convert import to_origin
from gateway.dialects.chat.response.usage import (
    UpstreamCounts,
    counts_of,
    estimated_usage,
    read_counts,
    to_tier,
    to_usage,
)
from gateway.dialects.reply import Reply


class StreamFacts:
    """`last_chunk`: empty before the first one."""

    __slots__ = ("_counts", "_first_chunk", "_first_counts", "_read", "last_chunk")

    def __init__(self) -> None:
        self._counts: dict[str, Any] | None = None
        self._first_counts: dict[str, Any] | None = None
        self._read: tuple[dict[str, Any], UpstreamCounts] | None = None  # the count, as it came and as it was read
        self._first_chunk: dict[str, Any] = {}
        self.last_chunk: dict[str, Any] = {}

    @property
    def has_counts(self) -> bool:
        return self._counts is not None

    def note(self, chunk: dict[str, Any]) -> None:
        """Take the facts of a chunk, and its choices out of it: content is not kept until the stream ends."""
        self._counts = counts_of(chunk) or self._counts
        chunk.pop("choices", None)
        if not self.last_chunk:
            self._first_chunk = self.last_chunk = chunk
            self._first_counts = self._counts
        elif "model" in chunk:  # a closing usage chunk may come without
            self.last_chunk = chunk

    def take(self, chunk: dict[str, Any], counts: dict[str, Any] | None) -> None:
        """Take the facts of a whole stream."""
        self.last_chunk = self._first_chunk = chunk
        self._counts = self._first_counts = counts

    def counts(self) -> UpstreamCounts | None:
        counts = self._counts
        if counts is None:
            return None
        if self._read is None or self._read[0] is not counts:
            self._read = counts, read_counts(counts)
        return self._read[1]

    def origin(self, counts: UpstreamCounts | None) -> Origin:
        return to_origin(self.last_chunk, counts)

    def usage(self, counts: UpstreamCounts | None, reply: Reply, output_size: int) -> dict[str, Any]:
        """Return Anthropic's `usage`; without a count, an estimate from `output_size` in bytes."""
        estimate = reply.input_estimate
        usage = estimated_usage(estimate, output_size) if counts is None else to_usage(counts, reply, output_size)
        usage["service_tier"] = to_tier(self.last_chunk)
        return usage

    def first_usage(self, reply: Reply) -> dict[str, Any]:
        """Return the `usage` of message_start. vLLM counts the prompt in its first chunk, others at the end."""
        counts = self._first_counts
        usage = to_usage(read_counts(counts), reply) if counts else estimated_usage(reply.input_estimate)
        usage |= {"output_tokens": 0, "service_tier": to_tier(self._first_chunk)}
        usage.pop("output_tokens_details", None)
        return usage
