"""Messages that come back as history: every dialect accepts each of them, from clients of each API."""

from random import Random
from typing import Any

from gateway.dialects.chat.client.answer import to_completion
from gateway.dialects.chat.client.request import to_messages_request as from_chat
from gateway.dialects.clients.parameters import ClientAsking, ClientRequest
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.responses.client.output import ResponseFacts, to_response
from gateway.dialects.responses.client.request import to_messages_request as from_responses
from gateway.messages.fold import fold_stream
from gateway.upstream.models.target import to_target
from gateway.upstream.vendors.registry import COMPATIBLE
from tests.support.fuzz_dialects import DIALECTS, KEYRING, MODEL, prepare, streamed_by, to_answer, to_request

CLIENT_ASKING = ClientAsking(to_target(MODEL, COMPATIBLE), KEYRING)
ASK = {"role": "user", "content": "Go on."}
Json = dict[str, Any]


def fuzz_history(random: Random) -> str:
    """The message of one dialect continues the conversation through every dialect. Raises InvalidRequest if not."""
    request, answer = to_request(random), to_answer(random)
    origin = random.choice(list(DIALECTS))
    message = fold_stream(streamed_by(origin, prepare(origin, request), answer, random))
    calls = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call, "content": "r"} for call in calls]
    after = [{"role": "assistant", "content": message["content"]}, {"role": "user", "content": results or "Go on."}]
    for name in DIALECTS:
        prepare(name, {**request, "messages": [*request["messages"], *after]})
    for asked in (kept_by_chat_client(message, calls), kept_by_responses_client(message, calls)):
        assert not asked.notes, asked.notes
        for name in DIALECTS:
            prepare(name, asked.request)
    return "accepted"


def kept_by_chat_client(message: Json, calls: list[str]) -> ClientRequest:
    said = to_completion(message, ToolRegistry(), 5)["choices"][0]["message"]
    results = [{"role": "tool", "tool_call_id": call, "content": "r"} for call in calls]
    return from_chat({"model": "asked", "messages": [ASK, said, *results, ASK]}, CLIENT_ASKING, ToolRegistry())


def kept_by_responses_client(message: Json, calls: list[str]) -> ClientRequest:
    response = to_response(message, ToolRegistry(), ResponseFacts(5, {}), compacts=False)
    results = [{"type": "function_call_output", "call_id": call, "output": "r"} for call in calls]
    asked, _ = from_responses({"model": "asked", "input": [ASK, *response["output"], *results, ASK]}, CLIENT_ASKING)
    return asked
