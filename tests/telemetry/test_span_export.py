"""Spans through OpenTelemetry's own processor: what a slow or broken collector costs."""

import threading
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.telemetry.metrics import SPANS_DROPPED
from gateway.telemetry.span_export import QUEUE, SpanExport
from gateway.telemetry.tracing import SpanData
from gateway.telemetry.tracing_setup import is_wanted

SPAN = SpanData("chat m", "client", "a" * 32, "b" * 16, "c" * 16, 1, 2, "error", {"k": "v"}, (("d" * 32, "e" * 16),))


def dropped() -> float:
    return SPANS_DROPPED._value.get()


def test_span_reaches_the_exporter_as_it_was_given() -> None:
    memory = InMemorySpanExporter()
    export = SpanExport(memory)
    export(SPAN)
    export.close()
    [span] = memory.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}") == ("a" * 32, "b" * 16)
    assert (f"{span.parent.span_id:016x}", span.name, span.status.status_code.name) == ("c" * 16, "chat m", "ERROR")
    assert (span.start_time, span.end_time, dict(span.attributes or {})) == (1, 2, {"k": "v"})
    assert f"{span.links[0].context.span_id:016x}" == "e" * 16
    assert span.resource.attributes["service.name"] == "dragoman"


def test_frozen_collector_bounds_the_queue_and_counts_what_is_dropped() -> None:
    thawed = threading.Event()

    class Frozen(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            thawed.wait(30)
            return SpanExportResult.SUCCESS

        def shutdown(self) -> None:
            return

    before, export = dropped(), SpanExport(Frozen())
    for _ in range(QUEUE + 100):
        export(SPAN)
    assert dropped() - before == 100
    thawed.set()
    export.close()


def test_refused_spans_are_counted_as_dropped() -> None:
    class Refusing(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return SpanExportResult.FAILURE

        def shutdown(self) -> None:
            return

    before, export = dropped(), SpanExport(Refusing())
    export(SPAN)
    export.close()
    assert dropped() - before == 1


def test_tracing_is_on_only_where_a_collector_is_named() -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert is_wanted(endpoint)
    assert is_wanted({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"})
    assert not is_wanted({})
    assert not is_wanted({**endpoint, "OTEL_SDK_DISABLED": "TRUE"})
    assert not is_wanted({**endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
