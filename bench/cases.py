"""Request bodies, and the shapes of load that send them.

The model's name selects the answer of the upstream stand-in, see `src/upstream.c`. Bodies are made from a fixed seed,
so that every run and every target is sent the same bytes.
"""

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.chat_bodies import to_chat

Body = dict[str, Any]

VOCABULARY = """
    the of to and a in that is for it with as on be at by this file code function test return value request
    response stream server error handle path line read write edit update config module class import
"""
ODDITIES = (".\n", ",", ' "quoted"', "\n\t- ", " → ", " é")
PLAIN = "plain-1"
PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x04\x00\x00\x00\x04\x00\x08\x02\x00\x00\x00"  # 1024 × 1024


@dataclass(frozen=True, slots=True)
class Case:
    """One shape of load. `expect` is a text that every sound answer holds; `warm` are seconds that do not count.

    `turns`: the body is a conversation, of which each request is the next turn. `start`: a body like this one with
    fewer deltas; what its streams take is not counted, so that only deltas are.
    """

    name: str
    body: str
    connections: int
    says: str
    streamed: bool = False
    expect: str | None = None
    deltas_each: int = 0
    warm: float = 0.5
    turns: bool = False
    start: str | None = None


CASES = {
    case.name: case
    for case in (
        Case("one", "small", 1, "small request, 1 connection", expect='"message"'),
        Case("small", "small", 16, "small request, 16 connections", expect='"message"'),
        Case("ten", "small", 10, "small request, 10 connections", expect='"message"'),
        Case("crowd", "small", 256, "small request, 256 connections opened at once", expect='"message"', warm=1.5),
        Case("code", "code", 8, "67 kB coding-agent request, 8 connections", expect='"message"'),
        Case(
            *("conversation", "conversation", 8, "a coding agent's next turn, 43 to 86 kB, 8 connections"),
            expect='"message"',
            turns=True,
        ),
        Case("image", "image", 2, "1.5 MB image request, 2 connections", expect='"message"'),
        Case("stream10", "paced", 10, "10 streams of 100 text deltas/s", streamed=True),
        Case("stream500", "slow", 500, "500 streams of 10 text deltas/s", streamed=True, warm=3),
        Case("lone", "lone", 4, "a delta alone, 4 streams of 10/s", streamed=True, warm=3, start="lone-start"),
        Case("tool10", "tool", 10, "10 streams of 100 tool-argument deltas/s", streamed=True),
        Case("burst", "burst", 8, "200 deltas at once, 8 connections", True, "message_stop", deltas_each=200),
    )
}


def write_bodies(directory: Path, model_prefix: str = "", *, as_chat: bool = False) -> None:
    """Write a file per body and per conversation. `model_prefix` is for proxies that find their upstream by it."""
    directory.mkdir(parents=True, exist_ok=True)
    files = {name: [make()] for name, make in BODIES.items()} | {"conversation": growing_conversation()}
    for name, bodies in files.items():
        written = [to_chat(body) for body in bodies] if as_chat else bodies
        write_body(directory / f"{name}.json", *written, model_prefix=model_prefix)


def write_body(path: Path, *bodies: Body, model_prefix: str = "") -> None:
    """Write one body; or several, one a line."""
    named = [body | {"model": model_prefix + body["model"]} for body in bodies]
    path.write_text("\n".join(json.dumps(body, ensure_ascii=False, separators=(",", ":")) for body in named))


def question(model: str, *, stream: bool = False, text: str = "Say hello in three languages.") -> Body:
    body: Body = {"model": model, "max_tokens": 1024, "messages": [{"role": "user", "content": text}]}
    return body | {"stream": True} if stream else body


def tool_question() -> Body:
    return question("tool-200-d10", stream=True) | {"tools": [_tool(random.Random(7), 0)]}


def coding_agent(turns: int = 9) -> Body:
    """Request of a coding agent: a long system prompt, 16 tools, and `turns` calls of them with their results."""
    rng = random.Random(7)
    messages: list[Body] = [{"role": "user", "content": [_text(rng, 600)]}]
    for number in range(turns):
        messages += _turn(rng, number)
    messages.append({"role": "assistant", "content": [_text(rng, 200)]})
    messages.append({"role": "user", "content": [_text(rng, 200) | {"cache_control": {"type": "ephemeral"}}]})
    return {
        "model": PLAIN,
        "max_tokens": 8192,
        "temperature": 1,
        "metadata": {"user_id": "user_x"},
        "system": [
            {"type": "text", "text": "You are a coding agent.", "cache_control": {"type": "ephemeral"}},
            _text(rng, 13000) | {"cache_control": {"type": "ephemeral"}},
        ],
        "tools": [_tool(rng, number) for number in range(16)],
        "messages": messages,
    }


def growing_conversation(turns: int = 20) -> list[Body]:
    """A conversation of a coding agent, after each of its turns: each body repeats the last with two messages more.

    `mark:00000000` is replaced by the conversation's number, so that no two are the same. The last message is marked
    for the upstream's prompt cache, as Claude Code does it.
    """
    rng, whole = random.Random(7), coding_agent(turns=0)
    first = _text(rng, 600)
    messages: list[Body] = [{"role": "user", "content": [first | {"text": "mark:00000000 " + first["text"]}]}]
    bodies = []
    for number in range(turns):
        call, result = _turn(rng, number)
        marked = [block | {"cache_control": {"type": "ephemeral"}} for block in result["content"]]
        bodies.append(whole | {"messages": [*messages, call, result | {"content": marked}]})
        messages += [call, result]
    return bodies


def conversation(size: int) -> Body:
    """A tool-using conversation of about `size` bytes, without tools or system prompt where it is to be small."""
    if size < 64_000:
        return question(PLAIN, text=_prose(random.Random(7), max(1, size - 100)))
    return coding_agent(turns=max(1, (size - 51_000) // 1_830))


def image() -> Body:
    data = base64.b64encode(PNG_START + random.Random(7).randbytes(1_125_000 - len(PNG_START))).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    return {"model": PLAIN, "max_tokens": 1024, "messages": [{"role": "user", "content": content}]}


BODIES: dict[str, Callable[[], Body]] = {
    "small": lambda: question(PLAIN),
    "code": coding_agent,
    "image": image,
    "burst": lambda: question("stream-200", stream=True),
    "paced": lambda: question("stream-200-d10", stream=True),
    "slow": lambda: question("stream-200-d100", stream=True),
    "lone": lambda: question("stream-220-d100", stream=True),
    "lone-start": lambda: question("stream-20-d100", stream=True),
    "tool": tool_question,
}


def _prose(rng: random.Random, length: int) -> str:
    vocabulary, words, size = VOCABULARY.split(), [], 0
    while size < length:
        word = rng.choice(vocabulary)
        if rng.random() < 0.06:
            word += rng.choice(ODDITIES)
        words.append(word)
        size += len(word) + 1
    return " ".join(words)[:length]


def _text(rng: random.Random, length: int) -> Body:
    return {"type": "text", "text": _prose(rng, length)}


def _turn(rng: random.Random, number: int) -> list[Body]:
    call_id = f"toolu_{number:024d}"
    call = {"param_0": _prose(rng, 80), "param_1": number}
    use = {"type": "tool_use", "id": call_id, "name": f"Tool{number % 16}", "input": call}
    result = {"type": "tool_result", "tool_use_id": call_id, "content": [_text(rng, 1300)]}
    return [{"role": "assistant", "content": [_text(rng, 150), use]}, {"role": "user", "content": [result]}]


def _tool(rng: random.Random, number: int) -> Body:
    item = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "status": {"type": "string", "enum": ["pending", "in_progress", "completed"]},
        },
        "required": ["id"],
    }
    properties: Body = {
        f"param_{index}": {"type": rng.choice(["string", "integer", "boolean"]), "description": _prose(rng, 120)}
        for index in range(5)
    }
    schema = {
        "type": "object",
        "properties": properties | {"items": {"type": "array", "items": item}},
        "required": ["param_0"],
        "additionalProperties": False,
        "$schema": "http://json-schema.org/draft-07/schema#",
    }
    return {"name": f"Tool{number}", "description": _prose(rng, 1000), "input_schema": schema}
