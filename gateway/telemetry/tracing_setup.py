"""Set-up of tracing: enabled if OpenTelemetry's variables name a collector and `dragoman[otel]` is installed."""

import asyncio
import importlib
import importlib.util
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog

from gateway.settings import Settings
from gateway.telemetry.tracing import Attributes, Tracer

log = structlog.get_logger()

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
DISABLED: Final = "OTEL_SDK_DISABLED"
EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http"


@asynccontextmanager
async def open_tracer(settings: Settings, environment: Mapping[str, str]) -> AsyncIterator[Tracer | None]:
    """Yield a tracer, or None if tracing is off. On exit, waiting spans are sent, for some seconds at most."""
    if not is_wanted(environment):
        yield None
        return
    # Loaded here only: importing the SDK takes a quarter of a second.
    export = importlib.import_module("gateway.telemetry.span_export").SpanExport()
    server: Attributes = {
        "server.address": settings.host,
        "server.port": settings.port,
        "http.request.method": "POST",
    }
    try:
        yield Tracer(export, settings.trace_ratio, settings.trace_upstream, server)
    finally:
        await asyncio.to_thread(export.close)


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Return True if traces are configured and can be exported. Log the reason if they cannot."""
    if not any(environment.get(name) for name in ENDPOINTS) or environment.get(DISABLED, "").lower() == "true":
        return False
    if any(environment.get(name) == "grpc" for name in PROTOCOLS):
        log.warning("tracing_off", hint="gRPC is not offered: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
        return False
    try:
        found = importlib.util.find_spec(EXPORTER)
    except ModuleNotFoundError:
        found = None
    if found is None:
        log.warning("tracing_off", hint="OpenTelemetry is not installed: pip install dragoman[otel]")
    return found is not None
