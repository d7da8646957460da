"""Choice of an adaptation after a refusal: the first one, in order of likelihood, that changes the request.

The words are looked for in the whole refusal, since servers and proxies wrap them differently. As an adaptation counts
only if it changes the request into one that has not been refused, none is tried twice, and a general rule may follow a
special one.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, cast

from gateway.dialects.chat.request.convert import Conversion
from gateway.dialects.chat.request.fallbacks.apply import apply
from gateway.dialects.chat.request.fallbacks.message_rules import CONTENT_RULES, REASONING_BACK_RULES, ROLE_RULES
from gateway.dialects.chat.request.fallbacks.messages import Body
from gateway.dialects.chat.request.fallbacks.named import pointed_fields, worded_fields
from gateway.dialects.chat.request.fallbacks.parameter_rules import (
    FORMAT_RULES,
    LENGTH_RULES,
    REASONING_RULES,
    STOP_RULES,
    TOOL_RULES,
)
from gateway.dialects.chat.request.fallbacks.rule import Rule
from gateway.dialects.chat.request.fallbacks.schema_rules import SCHEMA_RULES, WHOLE_SCHEMA_RULES
from gateway.errors import (
    GatewayError,
    InvalidRequest,
    NotFound,
    Overloaded,
    RequestTooLarge,
    UpstreamError,
    UpstreamWords,
)
from gateway.upstream.models.target import Target
from gateway.upstream.vendors.adaptation import Adaptation

# Errors that may be about the request. OpenRouter's router says 404 and 503 too.
REFUSALS = (InvalidRequest, NotFound, Overloaded, RequestTooLarge)
# The whole answer of servers that give no reason (transformers serve 5.19, 2026-11).
OPAQUE = re.compile(r"\s*+(?:internal server error\.?)?\s*+", re.IGNORECASE)

SPECIAL_RULES = (
    *REASONING_BACK_RULES,
    *REASONING_RULES,
    *ROLE_RULES,
    *LENGTH_RULES,
    *STOP_RULES,
    *CONTENT_RULES,
    *TOOL_RULES,
)
GENERAL_RULES = (*SCHEMA_RULES, *FORMAT_RULES, *WHOLE_SCHEMA_RULES)


def to_adaptation(error: GatewayError, conversion: Conversion, target: Target) -> Adaptation | None:
    """Return the adaptation for this error; None if no part of the request can be what was refused."""
    for adaptation in asked_for(error, cast(Body, conversion.body)):
        if adaptation.kind == "not_strict" and not target.strict_fallback:
            continue
        body, _ = apply(adaptation, conversion.body)
        if body is not cast(Any, conversion.body) and body not in conversion.refused:
            return adaptation
    return None


def asked_for(error: GatewayError, body: Body) -> Iterator[Adaptation]:
    """Yield adaptations in order of likelihood. Not all of them concern the request."""
    said = error.said
    if said is None:
        return
    if isinstance(error, REFUSALS):
        yield from _read(SPECIAL_RULES, said, body)
        pointed = pointed_fields(said, body)
        if pointed is not None:
            yield pointed
        yield from _read(GENERAL_RULES, said, body)
        yield from worded_fields(said, body)
    elif isinstance(error, UpstreamError) and said.status == 500 and OPAQUE.fullmatch(said.text):
        yield Adaptation("system_as_user")


def _read(rules: Iterable[Rule], said: UpstreamWords, body: Body) -> Iterator[Adaptation]:
    for rule in rules:
        adaptation = rule.read(said, body)
        if adaptation is not None:
            yield adaptation
