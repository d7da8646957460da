"""One conversation through chat, native and Responses: the same message for the client and the same prompt for the
upstream, or a note.

An answer is generated once and written in the three forms. A request is converted to them and read back from each. For
a client that speaks chat, the answers are also the same, passed through or converted.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

import orjson

from gateway.access.keyring import Keyring
from gateway.context import Context
from gateway.dialects.base import Asking, Dialect, Prepared, StreamConverter
from gateway.dialects.chat.client.stream import ChatStream
from gateway.dialects.chat.dialect import ChatDialect
from gateway.dialects.chat.original.stream import OriginalStream
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.native.dialect import NativeDialect
from gateway.dialects.native.refused import RefusedThinking
from gateway.dialects.reply import Reply
from gateway.dialects.responses.dialect import ResponsesDialect
from gateway.messages.fold import fold_stream
from gateway.messages.prompt import Received, to_prompt
from gateway.upstream.models.target import to_target
from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.vendors.registry import COMPATIBLE
from tests.support.messages_server import event
from tests.support.responses_events import to_stream

KEYRING = Keyring((("t", b"secret"),))
DIALECTS: dict[str, Dialect] = {
    "chat": ChatDialect(KEYRING),
    "messages": NativeDialect(KEYRING, RefusedThinking(lambda: 0.0)),
    "responses": ResponsesDialect(KEYRING),
}
CONTEXT = Context("req_1")
ASKING = Asking("msg_1", "req_1", "acme")
MODEL = "acme/writer"
WORDS = ("Hello", "wörld", ' "quoted"', "\\n", "\n", "😀", "a,b", "{}", "\u2028", "x" * 40, "<tag>", "[DONE]")
STOPS = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


def route_to(dialect: Any) -> Route:
    upstream = Upstream("u", "http://u/v1", "key", COMPATIBLE, dialect=dialect)
    return Route("asked", upstream, dialect, to_target(MODEL, COMPATIBLE))


def fuzz_dialects(random: Random) -> str:
    """Raises AssertionError for a difference without a note."""
    request = to_request(random)
    prepared = {name: prepare(name, request) for name in DIALECTS}
    noted = check_prompts(request, prepared)
    answer = to_answer(random)
    streamed = {name: streamed_by(name, prepared[name], answer, random) for name in DIALECTS}
    messages = {name: said_by(name, prepared[name], answer, events) for name, events in streamed.items()}
    chats = {name: said_to_client(to_chunks(events)) for name, events in streamed.items()}
    chats["passed on"] = said_to_client(passed_on(answer, random))
    for read in (messages, chats):
        for name, message in read.items():
            assert message == read["chat"], f"{name} says {message}, chat {read['chat']}"
    return "noted" if noted else "same"


def text_of(random: Random) -> str:
    """Return text without white space at its ends, which chat upstreams add and lose."""
    return "A" + "".join(random.choices(WORDS, k=random.randrange(6))) + "z"


def to_input(random: Random) -> dict[str, Any]:
    return {
        text_of(random): random.choice([1, 1.5, None, True, [], {"a": text_of(random)}])
        for _ in range(random.randrange(3))
    }


# Answers


def to_answer(random: Random) -> dict[str, Any]:
    """Return blocks in the order that every dialect has: thinking, text, calls."""
    content: list[dict[str, Any]] = []
    if random.random() < 0.3:
        content.append({"type": "thinking", "thinking": text_of(random), "signature": ""})
    calls = random.randrange(3)
    if random.random() < 0.8 or not calls:
        content.append({"type": "text", "text": text_of(random)})
    content += [
        {"type": "tool_use", "id": f"toolu_{number}", "name": f"tool_{number}", "input": to_input(random)}
        for number in range(calls)
    ]
    stop = "tool_use" if calls else random.choice(["end_turn", "max_tokens"])
    return {
        "id": "msg_up",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 7, "cache_read_input_tokens": random.choice([0, 4])},
    }


def streamed_by(name: str, prepared: Prepared, answer: dict[str, Any], random: Random) -> bytes:
    """Return the events that a dialect makes of the answer, which comes in pieces."""
    return in_pieces(DIALECTS[name].stream(prepared, opened=False), WRITERS[name](answer), random)


def in_pieces(stream: StreamConverter, told: bytes, random: Random) -> bytes:
    cut = random.randrange(len(told))
    events = stream.feed(told[:cut]) + stream.feed(told[cut:]) + stream.end()
    assert stream.failure is None, stream.failure
    return events


def said_by(name: str, prepared: Prepared, answer: dict[str, Any], events: bytes) -> dict[str, Any]:
    """Return the message of a dialect's events, after checking that a collected answer is the same."""
    collected = DIALECTS[name].collect(prepared)
    collected.feed(WRITERS[name](answer))
    collected.end()
    message, whole = fold_stream(events), collected.message()
    assert essence(message) == essence(whole)
    return essence(message)


def to_chunks(events: bytes) -> bytes:
    return ChatStream(ToolRegistry(), 0, shows_usage=True).feed(events)


def passed_on(answer: dict[str, Any], random: Random) -> bytes:
    reply = Reply("msg_1", "req_1", "asked", MODEL, KEYRING)
    return in_pieces(OriginalStream(reply, shows_usage=True), to_chat(answer), random)


def said_to_client(told: bytes) -> dict[str, Any]:
    """Join the chunks of a completion as a client does."""
    said: dict[str, Any] = {"content": "", "reasoning_content": "", "calls": {}, "finish": None}
    *events, end = told.removesuffix(b"\n\n").split(b"\n\n")
    assert end == b"data: [DONE]"
    for chunk in [orjson.loads(payload.removeprefix(b"data: ")) for payload in events]:
        assert chunk["model"] == "asked"
        if chunk.get("usage"):
            said["usage"] = [chunk["usage"][name] for name in ("prompt_tokens", "completion_tokens")]
        for choice in chunk["choices"]:
            for name in ("content", "reasoning_content"):
                said[name] += choice["delta"].get(name) or ""
            for call in choice["delta"].get("tool_calls", ()):
                known = said["calls"].setdefault(call["index"], {"name": "", "arguments": ""})
                known["name"] += call["function"].get("name", "")
                known["arguments"] += call["function"].get("arguments", "")
            said["finish"] = choice.get("finish_reason") or said["finish"]
    return said


def essence(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message without ids and signatures, which differ between dialects."""
    usage = message["usage"]
    return {
        "content": [
            {key: value for key, value in block.items() if key not in ("citations", "id", "signature")}
            for block in message["content"]
        ],
        "stop_reason": message["stop_reason"],
        "usage": [usage.get(name) or 0 for name in ("input_tokens", "output_tokens", "cache_read_input_tokens")],
    }


def to_native(answer: dict[str, Any]) -> bytes:
    return b"".join(native_events(answer))


def native_events(answer: dict[str, Any]) -> Iterator[bytes]:
    yield event("message_start", message={**answer, "content": [], "stop_reason": None})
    for index, block in enumerate(answer["content"]):
        match block["type"]:
            case "text":
                kind, start, grown = "text_delta", {"text": ""}, {"text": block["text"]}
            case "thinking":
                kind, start, grown = "thinking_delta", {"thinking": ""}, {"thinking": block["thinking"]}
            case _:
                grown = {"partial_json": orjson.dumps(block["input"]).decode()}
                kind, start = "input_json_delta", {"input": {}}
        yield event("content_block_start", index=index, content_block={**block, **start})
        yield event("content_block_delta", index=index, delta={"type": kind, **grown})
        yield event("content_block_stop", index=index)
    delta = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=delta, usage={"output_tokens": 7})
    yield event("message_stop")


def to_chat(answer: dict[str, Any]) -> bytes:
    return b"".join([b"data: %b\n\n" % orjson.dumps(chunk) for chunk in chat_chunks(answer)]) + b"data: [DONE]\n\n"


def chat_chunks(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    calls = 0
    for block in answer["content"]:
        match block["type"]:
            case "text":
                delta = {"content": block["text"]}
            case "thinking":
                delta = {"reasoning_content": block["thinking"]}
            case _:
                function = {"name": block["name"], "arguments": orjson.dumps(block["input"]).decode()}
                delta = {"tool_calls": [{"index": calls, "id": block["id"], "type": "function", "function": function}]}
                calls += 1
        yield {"model": MODEL, "choices": [{"index": 0, "delta": delta}]}
    cached = answer["usage"]["cache_read_input_tokens"]
    usage = {"prompt_tokens": 9 + cached, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": cached}}
    finish = STOPS[answer["stop_reason"]]
    yield {"model": MODEL, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}], "usage": usage}


def to_responses(answer: dict[str, Any]) -> bytes:
    cached = answer["usage"]["cache_read_input_tokens"]
    usage = {"input_tokens": 9 + cached, "input_tokens_details": {"cached_tokens": cached}, "output_tokens": 7}
    items = [to_item(block, number) for number, block in enumerate(answer["content"])]
    if answer["stop_reason"] == "max_tokens":
        return to_stream(items, "incomplete", usage=usage, incomplete_details={"reason": "max_output_tokens"})
    return to_stream(items, usage=usage)


def to_item(block: dict[str, Any], number: int) -> dict[str, Any]:
    match block["type"]:
        case "text":
            content = [{"type": "output_text", "text": block["text"], "annotations": []}]
            return {"type": "message", "id": f"m{number}", "role": "assistant", "content": content}
        case "thinking":
            summary = [{"type": "summary_text", "text": block["thinking"]}]
            return {"type": "reasoning", "id": f"r{number}", "summary": summary, "encrypted_content": "e"}
        case _:
            arguments = orjson.dumps(block["input"]).decode()
            call = {"call_id": block["id"], "name": block["name"], "arguments": arguments}
            return {"type": "function_call", "id": f"f{number}", **call}


WRITERS = {"chat": to_chat, "messages": to_native, "responses": to_responses}

# Requests


def to_request(random: Random) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for turn in range(random.randrange(1, 4)):
        user: list[dict[str, Any]] = [{"type": "text", "text": text_of(random)}]
        if random.random() < 0.2:
            user.append({"type": "image", "source": {"type": "url", "url": f"https://x/{turn}.png"}})
        messages.append({"role": "user", "content": user})
        if random.random() < 0.5:
            call = {"type": "tool_use", "id": f"toolu_{turn}", "name": "look", "input": to_input(random)}
            messages.append({"role": "assistant", "content": [{"type": "text", "text": text_of(random)}, call]})
            result = {"type": "tool_result", "tool_use_id": f"toolu_{turn}", "content": text_of(random)}
            messages.append({"role": "user", "content": [result]})
        messages.append({"role": "assistant", "content": text_of(random)})
    messages.append({"role": "user", "content": text_of(random)})
    tools = [{"name": "look", "description": "d", "input_schema": {"type": "object"}}]
    request: dict[str, Any] = {
        "model": "asked",
        "max_tokens": random.randrange(1, 99),
        "messages": messages,
        "tools": tools,
    }
    optional = {"system": text_of(random), "temperature": 0.5, "top_k": 3, "stop_sequences": ["END"], "stream": True}
    return request | {name: value for name, value in optional.items() if random.random() < 0.4}


def prepare(name: str, request: dict[str, Any]) -> Prepared:
    body = orjson.dumps(request)
    prompt = to_prompt(orjson.loads(body), len(body), CONTEXT, Received(body))
    return DIALECTS[name].prepare(prompt, route_to(name), ASKING)


def check_prompts(request: dict[str, Any], prepared: dict[str, Prepared]) -> bool:
    """Compare the prompts of all upstreams. Return True if any of them gets less, with a note for it."""
    expected, noted = said_to_native(request), False
    for name, read in READERS.items():
        said = read(orjson.loads(bytes(prepared[name].body)))
        fields = {note.field for note in prepared[name].notes}
        matched_here = set(prepared[name].reply.stop_sequences)
        for part, value in expected.items():
            is_kept = said.get(part) == value or (part == "stop_sequences" and matched_here == set(value))
            assert is_kept or part in fields, f"{name} is told {said.get(part)!r} as {part}, not {value!r}"
            noted = noted or not is_kept
    return noted


def said_to_native(body: dict[str, Any]) -> dict[str, Any]:
    said: list[Any] = []
    for message in body["messages"]:
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            match block["type"]:
                case "text":
                    said.append((message["role"], block["text"]))
                case "image":
                    said.append(("image", block["source"]["url"]))
                case "tool_use":
                    said.append(("call", block["name"], block["input"]))
                case _:
                    said.append(("result", block["content"]))
    names = ("system", "max_tokens", "temperature", "top_k", "stop_sequences")
    said_of = {name: body[name] for name in names if name in body}
    return {"said": said, "tools": [tool["name"] for tool in body["tools"]], **said_of}


def said_to_chat(body: dict[str, Any]) -> dict[str, Any]:
    said: list[Any] = []
    system = None
    for message in body["messages"]:
        if message["role"] == "system":
            system = message["content"]
        elif message["role"] == "tool":
            said.append(("result", message["content"]))
        else:
            said += parts_of(message["role"], message["content"])
            for call in message.get("tool_calls", ()):
                said.append(("call", call["function"]["name"], orjson.loads(call["function"]["arguments"])))
    known = {"system": system, "max_tokens": body.get("max_tokens") or body.get("max_completion_tokens")}
    tools = [tool["function"]["name"] for tool in body["tools"]]
    return {**body, **known, "said": said, "tools": tools, "stop_sequences": body.get("stop")}


def parts_of(role: str, content: Any) -> Iterator[Any]:
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
        if "text" in part:
            yield role, part["text"]
        else:
            image = part["image_url"]
            yield "image", image["url"] if isinstance(image, dict) else image


def said_to_responses(body: dict[str, Any]) -> dict[str, Any]:
    said: list[Any] = []
    system = None
    for item in body["input"]:
        match item["type"]:
            case "message" if item["role"] == "system":
                system = item["content"]
            case "message":
                said += parts_of(item["role"], item["content"])
            case "function_call":
                said.append(("call", item["name"], orjson.loads(item["arguments"])))
            case _:
                said.append(("result", item["output"]))
    known = {
        "system": system,
        "max_tokens": body["max_output_tokens"],
        "tools": [tool["name"] for tool in body["tools"]],
    }
    return {**body, **known, "said": said}


READERS = {"chat": said_to_chat, "messages": said_to_native, "responses": said_to_responses}
