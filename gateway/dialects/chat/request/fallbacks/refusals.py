"""What an upstream's refusal asks for: a table of wordings, read in order, each with the adaptation that answers it.

A rule counts only if its adaptation changes the request. So none is tried twice, and a general rule may follow a
special one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from gateway.dialects.chat.request.convert import Conversion
from gateway.dialects.chat.request.fallbacks.apply import apply
from gateway.errors import GatewayError, InvalidRequest, NotFound, Overloaded, UpstreamError
from gateway.upstream.adaptation import Adaptation
from gateway.upstream.target import Target

# Errors that may be about the request. OpenRouter's router says 404 and 503 too.
REFUSALS = (InvalidRequest, NotFound, Overloaded)


@dataclass(frozen=True, slots=True)
class Rule:
    """`words` of a refusal, and what they ask for."""

    words: re.Pattern[str]
    adaptation: Adaptation


def _rule(words: str, adaptation: Adaptation) -> Rule:
    return Rule(re.compile(words, re.IGNORECASE | re.DOTALL), adaptation)


RULES = (
    _rule(
        # Qwen's template in vLLM, SGLang and llama.cpp; Mistral's API; any template that raises (transformers' Jinja).
        r"system (?:message|prompt|role)s?\b.{0,40}?(?:must|should|may|only|has to|need).{0,40}?(?:begin|start|first)"
        r"|(?:multiple|more than one|only one|several) system (?:message|prompt)|unexpected role '?system"
        r"|jinja exception|raise_exception|templateerror|template error|chat template",
        Adaptation("system_as_user"),
    ),
    _rule(
        r"signature|thinking block|reasoning_details|encrypted_content",
        Adaptation("drop_reasoning", lasting=False),
    ),
    _rule(
        # A schema that the model cannot be held to. OpenRouter's router says which filter left no endpoint, not why,
        # and of strict schemas also that a guardrail left none (its ai-sdk-provider, issue 483, 2026-04); then servers
        # that take no `strict`, or the same for all tools only; then what compiles schemas at OpenAI and Anthropic.
        r"no endpoints (?:found (?:that|matching)|available)|endpoints out of \d+ requested"
        r"|\bstrict\b|invalid schema for|compiled grammar",
        Adaptation("not_strict"),
    ),
)
# The whole answer of servers that do not say what went wrong (transformers serve 5.19, 2026-11).
OPAQUE = re.compile(r"\s*(?:internal server error\.?)?\s*", re.IGNORECASE)


def to_adaptation(error: GatewayError, conversion: Conversion, target: Target) -> Adaptation | None:
    """What to send differently after this error; None where nothing in the request can be what was refused."""
    for adaptation in _asked_for(error):
        if adaptation.kind == "not_strict" and not target.strict_fallback:
            continue
        body, _ = apply(adaptation, conversion.body)
        if body is not cast(object, conversion.body):
            return adaptation
    return None


def _asked_for(error: GatewayError) -> Iterator[Adaptation]:
    said = error.said
    if said is None:
        return
    if isinstance(error, REFUSALS):
        yield from (rule.adaptation for rule in RULES if rule.words.search(said.text))
    elif isinstance(error, UpstreamError) and said.status == 500 and OPAQUE.fullmatch(said.text):
        yield Adaptation("system_as_user")
