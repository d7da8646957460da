"""Conversions of clients' requests with a fixed tenant and model."""

from typing import Any

from gateway.access.keyring import Keyring
from gateway.context import Context
from gateway.dialects.chat.client.request import to_messages_request
from gateway.dialects.clients.parameters import ClientAsking, ClientRequest
from gateway.dialects.clients.tools import ToolRegistry
from gateway.messages.prompt import to_prompt
from gateway.upstream.models.target import to_target
from gateway.upstream.vendors.registry import COMPATIBLE

KEYRING = Keyring((("t", b"secret"),))
ASKING = ClientAsking(to_target("test-model", COMPATIBLE), KEYRING)


def converted(body: dict[str, Any]) -> ClientRequest:
    """Convert a chat request, and check that the result is a valid Messages request."""
    asked = to_messages_request({"model": "m", **body}, ASKING, ToolRegistry())
    to_prompt(asked.request, 100, Context("req_1"))
    return asked


def messages_of(*messages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    value: list[dict[str, Any]] = converted({"messages": list(messages), **fields}).request["messages"]
    return value
