"""Spans of exchanges: which are exported, and what they hold. The SDK's own exporter is in test_span_export.py."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.context import Context
from gateway.telemetry.tracing import ENOUGH, Durations, SpanData, Tracer, read_parent, to_request_attributes
from gateway.telemetry.usage import Attempted, UsageRecord

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"
UNSAMPLED = f"00-{'a' * 32}-{'b' * 16}-00"
NOW = 1_800_000_000_000_000_000


class Traced:
    """A tracer that never samples by chance, and its spans."""

    def __init__(self, **changes: Any) -> None:
        self.spans: list[SpanData] = []
        self.tracer = Tracer(self.spans.append, wall=lambda: NOW, chance=lambda: 1.0, **changes)

    def finish(self, trace_parent: str | None = None, **fields: Any) -> list[SpanData]:
        context = Context("req_1", tenant="acme", key_id="k1", session_id="s1", trace_parent=trace_parent)
        for name in ("batch", "custom_id"):
            if name in fields:
                setattr(context, name, fields.pop(name))
        record = UsageRecord(context, model="asked", upstream_model="sent", served_model="served", upstream="up")
        for name, value in {"duration_seconds": 2.0, "begun": 100.0, "attempts": 1, **fields}.items():
            setattr(record, name, value)
        self.tracer.begin(
            context, {"max_tokens": 9, "stream": True, "thinking": {"type": "enabled", "budget_tokens": 5}}
        )
        self.spans.clear()
        self.tracer.observe(record)
        return list(self.spans)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (PARENT, ("a" * 32, "b" * 16, True)),
        (UNSAMPLED, ("a" * 32, "b" * 16, False)),
        (f"01-{'a' * 32}-{'b' * 16}-03-more", ("a" * 32, "b" * 16, True)),
        (None, ("", "", False)),
        ("", ("", "", False)),
        ("garbage", ("", "", False)),
        (f"00-{'0' * 32}-{'b' * 16}-01", ("", "", False)),
        (f"00-{'a' * 32}-{'0' * 16}-01", ("", "", False)),
        (f"ff-{'a' * 32}-{'b' * 16}-01", ("", "", False)),
        (f"00-{'A' * 32}-{'b' * 16}-01", ("", "", False)),
        (f"00-{'a' * 32}-{'b' * 16}-01-more", ("", "", False)),
    ],
)
def test_traceparent_is_read_as_the_standard_says(header: str | None, found: tuple[str, str, bool]) -> None:
    assert read_parent(header) == found


def test_sampled_client_gets_a_server_span_below_its_own_and_a_client_span_a_call() -> None:
    calls = [
        Attempted("up", "503", 0.5, "unavailable", begun=100.1, span_id="1" * 16, model="first"),
        Attempted("up", "200", 0.2, "ok", begun=100.8, span_id="2" * 16, model="second"),
    ]
    first, second, server = Traced().finish(PARENT, attempted=calls)
    assert (server.name, server.kind, server.status) == ("anthropic.messages.create", "server", "ok")
    assert (server.trace_id, server.parent_id) == ("a" * 32, "b" * 16)
    assert {first.parent_id, second.parent_id} == {server.span_id}
    assert (first.name, first.status, first.attributes["error.type"]) == ("chat first", "error", "unavailable")
    assert (first.started, first.ended) == (server.started + 100_000_000, server.started + 600_000_000)
    assert (second.ended, second.attributes["http.request.resend_count"]) == (server.ended, 1)
    assert server.ended - server.started == 2_000_000_000


def test_attributes_are_anthropics_and_usage_includes_cached_tokens() -> None:
    [span] = Traced().finish(
        PARENT,
        input_tokens=6,
        cache_read_tokens=2,
        cache_write_tokens=3,
        output_tokens=7,
        stop_reason="end_turn",
        first_content_seconds=0.25,
        cost=0.5,
        provider="host",
        message_id="msg_1",
    )
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "asked",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "msg_1",
        "gen_ai.response.model": "served",
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.cache_write.input_tokens": 3,
        "gen_ai.conversation.id": "s1",
        "anthropic.message.stop_reason": "end_turn",
        "anthropic.request.id": "req_1",
        "anthropic.thinking.type": "enabled",
        "anthropic.thinking.budget_tokens": 5,
        "http.response.status_code": 200,
        "dragoman.tenant": "acme",
        "dragoman.key": "k1",
        "dragoman.upstream": "up",
        "dragoman.provider": "host",
        "dragoman.attempts": 1,
        "dragoman.cost_usd": 0.5,
    }
    assert span.attributes == expected


def test_unsampled_exchange_is_not_exported_but_its_failure_is() -> None:
    traced = Traced()
    assert traced.finish(UNSAMPLED) == []
    assert traced.finish(None) == []
    [span] = traced.finish(UNSAMPLED, status=529, error_type="overloaded_error", cause="overloaded")
    assert (span.status, span.attributes["error.type"]) == ("error", "overloaded_error")


def test_client_that_left_is_neither_error_nor_success() -> None:
    traced = Traced()
    assert traced.finish(UNSAMPLED, status=499, error_type="client_left") == []
    [span] = traced.finish(PARENT, status=499, error_type="client_left")
    assert (span.status, "error.type" in span.attributes) == ("unset", False)


def test_slowest_percent_is_exported_at_ratio_0() -> None:
    traced = Traced(ratio=0.0)
    for number in range(ENOUGH):
        assert traced.finish(duration_seconds=1.0 + number / ENOUGH) == []
    assert len(traced.finish(duration_seconds=30.0)) == 1
    assert traced.finish(duration_seconds=1.5) == []


def test_ratio_decides_for_traces_that_no_client_began() -> None:
    traced = Traced(ratio=1.1)
    assert len(traced.finish()) == 1
    assert traced.finish(UNSAMPLED) == []


def test_item_of_a_batch_has_a_trace_of_its_own_with_a_link_to_the_creation() -> None:
    traced = Traced(ratio=1.1)
    [span] = traced.finish(PARENT, batch="msgbatch_1", custom_id="c1")
    assert (span.name, span.kind, span.parent_id) == ("dragoman.batch.item", "consumer", "")
    assert span.trace_id != "a" * 32
    assert span.links == (("a" * 32, "b" * 16),)
    assert span.attributes["dragoman.batch.custom_id"] == "c1"


def test_durations_forget_what_is_no_longer_among_the_latest() -> None:
    durations = Durations()
    for _ in range(1000):
        durations.is_slow(10.0)
    assert not durations.is_slow(9.0)
    for _ in range(1000):
        durations.is_slow(1.0)
    assert durations.is_slow(2.0)


@pytest.mark.parametrize(
    ("vendor", "upstream", "does"),
    [
        ("openrouter", "auto", False),
        ("vllm", "auto", True),
        ("openrouter", "on", True),
        ("vllm", "off", False),
    ],
)
def test_openrouter_gets_no_traceparent_unless_asked_for(vendor: str, upstream: Any, does: bool) -> None:
    assert Tracer(lambda span: None, upstream=upstream).propagates_to(vendor) is does


def hostile_requests() -> Iterator[dict[str, Any]]:
    for value in (None, [], "text", {"type": ["x"]}, 3):
        yield {"thinking": value, "output_config": value, "max_tokens": value, "stream": value}


def test_broken_requests_leave_plain_attributes_only() -> None:
    for request in hostile_requests():
        assert all(isinstance(value, str | int) for value in to_request_attributes(request).values())


def test_span_of_a_count_has_its_status_and_tokens() -> None:
    traced = Traced(ratio=1.1)
    context = Context("req_2", tenant="acme")
    traced.tracer.observe_request(context, "anthropic.messages.count_tokens", 200, 0.5, {"gen_ai.request.model": "m"})
    [span] = traced.spans
    assert (span.name, span.status, span.attributes["http.response.status_code"]) == (
        "anthropic.messages.count_tokens",
        "ok",
        200,
    )
    assert replace(span, name="x").ended - span.started == 500_000_000
