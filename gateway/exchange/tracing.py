"""The part of an exchange in its trace: ids before its calls, and the `traceparent` that upstreams get."""

import secrets

from gateway.exchange.plan import Plan
from gateway.telemetry.tracing import Tracer

Headers = tuple[tuple[str, str], ...]
TRACE_PARENT = "traceparent"


def begin_trace(tracer: Tracer | None, plan: Plan) -> None:
    if tracer is None:
        return
    tracer.begin(plan.context, None if plan.prompt is None else plan.prompt.request)
    plan.record.message_id = plan.reply.message_id


def traced(tracer: Tracer | None, plan: Plan, headers: Headers) -> Headers:
    """Give the call its own span, and return its headers with that span as the upstream's parent."""
    if tracer is None:
        return headers
    plan.span_id = secrets.token_hex(8)
    trace = plan.context.trace
    if trace is None or not tracer.propagates_to(plan.route.upstream.vendor.name):
        return headers
    # A client's own, if it is forwarded, would make the upstream's span a sibling of ours.
    others = [header for header in headers if header[0].lower() != TRACE_PARENT]
    return (*others, (TRACE_PARENT, trace.to_header(plan.span_id)))
