"""Wire format of OpenRouter's chat completions: bodies and chunks of a completion.

Shapes as documented and captured in 2026-08/09: every delta repeats the role and often an empty `content`; thinking
comes as `reasoning` beside `reasoning_details`, with its signature in a separate delta; a tool call starts with id,
name and empty arguments; `finish_reason` comes twice, the second time with `usage`. `faults` makes faulty variants.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

PROVIDER = "Simulator"
FINGERPRINT = "fp_simulator"
CLAUDE_FORMAT = "anthropic-claude-v1"
GEMINI_FORMAT = "google-gemini-v1"

# Dollars per token. No money moves; a cost of zero would leave budgets and cost metrics untried.
PROMPT_PRICE = 0.000001
COMPLETION_PRICE = 0.000005

BYTES_PER_TOKEN = 4
ARGUMENT_FRAGMENT = 5  # characters: small enough to cut keys and numbers in two


@dataclass(frozen=True, slots=True)
class Generation:
    """Fields that every body and chunk of one answer repeats. `number` counts answers, `created` is in Unix seconds."""

    number: int
    created: int
    model: str

    @property
    def id(self) -> str:
        return f"gen-{self.created}-sim{self.number:06d}"

    def call_id(self, index: int) -> str:
        return f"toolu_{self.created}_{self.number}_{index}"


@dataclass(frozen=True, slots=True, repr=False)
class SimulatedToolCall:
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, repr=False)
class Completion:
    """Answer of the simulated model. `details` are whole `reasoning_details` entries, in order."""

    prompt_tokens: int
    text: str = ""
    details: tuple[Json, ...] = ()
    calls: tuple[SimulatedToolCall, ...] = ()
    refusal: str | None = None
    finish_reason: str = "stop"
    native_finish_reason: str = "end_turn"

    @property
    def reasoning(self) -> str:
        return "".join(detail.get("text", "") for detail in self.details)


def to_tokens(text: str | bytes) -> int:
    """Estimate tokens: four bytes each, rounded up."""
    size = len(text.encode()) if isinstance(text, str) else len(text)
    return -(-size // BYTES_PER_TOKEN)


def to_usage(
    prompt_tokens: int,
    completion_tokens: int,
    *,
    reasoning_tokens: int = 0,
    cached_tokens: int = 0,
    cache_write_tokens: int = 0,
) -> Json:
    """Return usage as OpenRouter reports it: cached and written tokens are part of the prompt, reasoning of the
    completion."""
    prompt_cost = prompt_tokens * PROMPT_PRICE
    completion_cost = completion_tokens * COMPLETION_PRICE
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "cost": prompt_cost + completion_cost,
        "is_byok": False,
        "prompt_tokens_details": {"cached_tokens": cached_tokens, "cache_write_tokens": cache_write_tokens},
        "cost_details": {
            "upstream_inference_cost": None,
            "upstream_inference_prompt_cost": prompt_cost,
            "upstream_inference_completions_cost": completion_cost,
        },
        "completion_tokens_details": {"reasoning_tokens": reasoning_tokens},
    }


def usage_of(completion: Completion) -> Json:
    reasoning_tokens = to_tokens(completion.reasoning)
    spoken = (
        completion.text + (completion.refusal or "") + "".join(call.name + call.arguments for call in completion.calls)
    )
    return to_usage(completion.prompt_tokens, reasoning_tokens + to_tokens(spoken), reasoning_tokens=reasoning_tokens)


def to_signature(thinking: str) -> str:
    """Return a signature that is opaque to clients. The simulator can verify that it belongs to the text."""
    return base64.b64encode(b"simulator " + hashlib.sha256(thinking.encode()).digest()).decode()


def to_thinking(text: str) -> Json:
    """Return a whole `reasoning.text` entry, signed."""
    return {
        "type": "reasoning.text",
        "text": text,
        "signature": to_signature(text),
        "format": CLAUDE_FORMAT,
        "index": 0,
    }


def to_encrypted(call_id: str) -> Json:
    """Return a Gemini thought signature: its id is the tool call's."""
    data = base64.b64encode(f"simulator {call_id}".encode()).decode()
    return {"type": "reasoning.encrypted", "data": data, "id": call_id, "format": GEMINI_FORMAT, "index": 0}


def to_body(generation: Generation, completion: Completion) -> Json:
    """Return a whole answer, without `stream`."""
    choice = {
        "logprobs": None,
        "finish_reason": completion.finish_reason,
        "native_finish_reason": completion.native_finish_reason,
        "index": 0,
        "message": to_message(completion),
    }
    return _head(generation, "chat.completion") | {"choices": [choice], "usage": usage_of(completion)}


def to_message(completion: Completion) -> Json:
    message: Json = {
        "role": "assistant",
        "content": completion.text or None,
        "refusal": completion.refusal,
        "reasoning": completion.reasoning or None,
    }
    if completion.details:
        message["reasoning_details"] = list(completion.details)
    if completion.calls:
        message["tool_calls"] = [_to_call(index, call, call.arguments) for index, call in enumerate(completion.calls)]
    return message


def to_chunks(generation: Generation, completion: Completion) -> list[Json]:
    """Return a streamed answer, without comments and `[DONE]`."""
    chunks = [to_chunk(generation, delta) for delta in to_deltas(completion)]
    return chunks + to_ending(generation, completion)


def to_deltas(completion: Completion) -> list[Json]:
    deltas = [delta for detail in completion.details for delta in to_detail_deltas(detail)]
    deltas += to_text_deltas(completion.text)
    if completion.refusal is not None:
        deltas.append({"role": "assistant", "content": "", "refusal": completion.refusal})
    for index, call in enumerate(completion.calls):
        deltas += to_call_deltas(index, call)
    return deltas


def to_text_deltas(text: str) -> list[Json]:
    return [{"role": "assistant", "content": fragment} for fragment in to_fragments(text)]


def to_detail_deltas(detail: Json) -> list[Json]:
    """Return thinking in fragments, then its signature alone; an entry without text in one piece."""
    if detail["type"] != "reasoning.text":
        return [{"role": "assistant", "content": "", "reasoning_details": [detail]}]
    common = {key: value for key, value in detail.items() if key not in ("text", "signature")}
    deltas: list[Json] = [
        {
            "role": "assistant",
            "content": "",
            "reasoning": fragment,
            "reasoning_details": [common | {"text": fragment}],
        }
        for fragment in to_fragments(detail["text"])
    ]
    signature = common | {"signature": detail["signature"]}
    return [*deltas, {"role": "assistant", "content": "", "reasoning_details": [signature]}]


def to_call_deltas(index: int, call: SimulatedToolCall) -> list[Json]:
    """Return id, name and empty arguments, then the arguments in fragments with the call's index."""
    fragments = [
        call.arguments[start : start + ARGUMENT_FRAGMENT] for start in range(0, len(call.arguments), ARGUMENT_FRAGMENT)
    ]
    return [
        {"role": "assistant", "content": None, "tool_calls": [_to_call(index, call, "")]},
        *(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"index": index, "type": "function", "function": {"arguments": fragment}}],
            }
            for fragment in fragments
        ),
    ]


def to_ending(generation: Generation, completion: Completion) -> list[Json]:
    """Return a chunk with the finish reason, then one that repeats it and adds the usage."""
    return [to_finish(generation, completion), to_finish(generation, completion) | {"usage": usage_of(completion)}]


def to_finish(generation: Generation, completion: Completion) -> Json:
    return to_chunk(
        generation,
        {"role": "assistant", "content": ""},
        finish_reason=completion.finish_reason,
        native_finish_reason=completion.native_finish_reason,
    )


def to_chunk(
    generation: Generation, delta: Json, *, finish_reason: str | None = None, native_finish_reason: str | None = None
) -> Json:
    choice = {
        "index": 0,
        "delta": delta,
        "finish_reason": finish_reason,
        "native_finish_reason": native_finish_reason,
        "logprobs": None,
    }
    return _head(generation, "chat.completion.chunk") | {"choices": [choice]}


def to_usage_chunk(generation: Generation, completion: Completion) -> Json:
    """Return usage in a chunk without choices, as documented and as other servers send it."""
    return _head(generation, "chat.completion.chunk") | {"choices": [], "usage": usage_of(completion)}


def to_fragments(text: str) -> list[str]:
    """Return words with the white space after them; joined they are the text again."""
    return re.findall(r"\s*\S+\s*|\s+", text)


def riffle(first: Sequence[Json], second: Sequence[Json]) -> Iterable[Json]:
    """Return the deltas of two calls, alternating until one runs out."""
    shorter = min(len(first), len(second))
    for one, other in zip(first, second, strict=False):
        yield one
        yield other
    yield from first[shorter:]
    yield from second[shorter:]


def _head(generation: Generation, kind: str) -> Json:
    return {
        "id": generation.id,
        "provider": PROVIDER,
        "model": generation.model,
        "object": kind,
        "created": generation.created,
        "system_fingerprint": FINGERPRINT,
        "service_tier": "default",
    }


def _to_call(index: int, call: SimulatedToolCall, arguments: str) -> Json:
    return {
        "index": index,
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
