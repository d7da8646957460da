"""Options of a Messages request that items of a batch may not use."""

from collections.abc import Mapping
from typing import Any

from gateway.errors import InvalidRequest


def refuse_live_only(params: Mapping[str, Any]) -> None:
    """Reject options of a Messages request that batch items may not use (Anthropic docs, batches, 2026-10)."""
    if params.get("stream"):
        raise InvalidRequest("stream: Streaming is not supported in message batches.")
    if params.get("speed") is not None:
        raise InvalidRequest("speed: Speed is not supported in message batches.")
    if params.get("max_tokens") == 0:
        raise InvalidRequest("max_tokens: Input should be greater than or equal to 1 in message batches.")
