"""Errors of an upstream that speaks chat, as bodies and as converted."""

from typing import Any

import orjson

from gateway.dialects.chat.response.errors.client_error import to_error
from gateway.errors import GatewayError
from tests.support.streams import reply


def failed(status: int, body: Any = b"", headers: dict[str, str] | None = None, **fields: Any) -> GatewayError:
    """Convert an answer with a status other than 2xx. `fields` are the reply's."""
    return to_error(status, headers or {}, body if isinstance(body, bytes) else orjson.dumps(body), reply(**fields))


def error_body(message: str = "told so", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}
