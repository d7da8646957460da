"""Export of spans by OpenTelemetry's own batch processor and OTLP/HTTP exporter: the extra `dragoman[otel]`.

Imported only where tracing is on, since it takes a quarter of a second. The standard variables configure it:
OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS and _TRACES_ENDPOINT, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES. Neither a slow
collector nor one that is down delays a request: what does not fit into the queue is dropped and counted.
"""

import os
from collections.abc import Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gateway import __version__
from gateway.telemetry.metrics import SPANS_DROPPED
from gateway.telemetry.tracing import SpanData

QUEUE: Final = 2048
BATCH: Final = 512
EVERY_MS: Final = 2000
DEADLINE_SECONDS: Final = 5

KINDS: Final = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "consumer": SpanKind.CONSUMER}
STATUSES: Final = {"unset": StatusCode.UNSET, "ok": StatusCode.OK, "error": StatusCode.ERROR}
SCOPE: Final = InstrumentationScope("dragoman", __version__)
SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class CountingExporter(SpanExporter):
    """Exporter that counts exported spans, and those that the collector refused."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.done = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        self.done += len(spans)
        if result is not SpanExportResult.SUCCESS:
            SPANS_DROPPED.inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class SpanExport:
    """Queue of finished spans, filled from the event loop; a thread of the SDK sends them."""

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        made = exporter or OTLPSpanExporter(compression=Compression.Gzip, timeout=DEADLINE_SECONDS)
        self._exporter = CountingExporter(made)
        self._processor = BatchSpanProcessor(
            self._exporter, max_queue_size=QUEUE, schedule_delay_millis=EVERY_MS, max_export_batch_size=BATCH
        )
        named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "dragoman"}
        self._resource = Resource.create({**named, "service.version": __version__})
        self._taken = 0

    def __call__(self, span: SpanData) -> None:
        if self._taken - self._exporter.done >= QUEUE:
            SPANS_DROPPED.inc()
            return
        self._taken += 1
        readable = ReadableSpan(
            name=span.name,
            context=to_context(span.trace_id, span.span_id),
            parent=to_context(span.trace_id, span.parent_id) if span.parent_id else None,
            resource=self._resource,
            attributes=span.attributes,
            links=[Link(to_context(trace_id, span_id)) for trace_id, span_id in span.links],
            kind=KINDS[span.kind],
            status=Status(STATUSES[span.status]),
            start_time=span.started,
            end_time=span.ended,
            instrumentation_scope=SCOPE,
        )
        self._processor.on_end(readable)

    def close(self) -> None:
        """Send the waiting spans, within the deadline."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def flush(self) -> None:
        self._processor.force_flush()


def to_context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=SAMPLED)
