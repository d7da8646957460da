"""Applies adaptations to chat requests, for a second try as for the first try of a later request.

The rewrites are in `messages` and `schemas`; this table says which kind is which. A body is never changed in place,
since it shares its parts with the client's request.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

from gateway.dialects.chat.request.convert import Conversion
from gateway.dialects.chat.request.fallbacks import messages, schemas
from gateway.dialects.chat.request.fallbacks.messages import Body, Rewritten
from gateway.schemas.openai import ChatRequest
from gateway.upstream.adaptation import Adaptation, Kind

REWRITES: dict[Kind, Callable[[Adaptation, Body], Rewritten]] = {
    "drop_reasoning": messages.drop_reasoning,
    "not_strict": schemas.not_strict,
    "system_as_user": messages.system_as_user,
}


def apply(adaptation: Adaptation, body: ChatRequest) -> Rewritten:
    """The body as adapted, with notes of what that changes for the client; the same body if it is not concerned."""
    return REWRITES[adaptation.kind](adaptation, cast(Body, body))


def adapted(conversion: Conversion, adaptations: Iterable[Adaptation]) -> Conversion:
    """The conversion with all adaptations applied that concern it, in order."""
    for adaptation in adaptations:
        body, notes = apply(adaptation, conversion.body)
        if body is not cast(Any, conversion.body):
            conversion = replace(conversion, body=cast(ChatRequest, body), notes=(*conversion.notes, *notes))
    return conversion
