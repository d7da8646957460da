"""Play a simulated server: check and read a request, and answer in that server's form.

`sim/…` names select one behaviour, as on the simulated OpenRouter. Any other name is a model that repeats the user's
text, thinks on request, and calls the tools that the user names.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from gateway.errors import InvalidRequest
from gateway.simulator.behaviours import THOUGHT, bounded, calling, to_answer, to_call, to_two_calls, to_words
from gateway.simulator.prompt import SimulatedPrompt, is_asked_for, to_prompt
from gateway.simulator.script import Script
from gateway.simulator.shapes import Completion, Generation, Json
from gateway.simulator.vendors.answers import VendorAnswer, to_streamed_script, to_whole, with_own_ids
from gateway.simulator.vendors.checks import check_request, is_thinking
from gateway.simulator.vendors.row import SimulatedVendor
from gateway.simulator.vendors.rows import VENDOR_ROWS
from gateway.simulator.vendors.words import RefusedRequest, refusal_of, to_refusal

PREFIX = "sim/"
CATALOGUE_CREATED = 1_767_225_600  # 2026-01-01: entries do not change with the clock


def to_vendor_script(vendor: str, body: bytes, number: int, created: int) -> Script:
    """Return the server's answer to a request. `number` counts answers, `created` is in Unix seconds."""
    row = VENDOR_ROWS[vendor]
    try:
        request = orjson.loads(body)
        request["model"] = _without_own_name(str(request["model"]), row)
        row = row.for_model(request["model"])
        check_request(request, row)
        return _answer(request, row, Generation(number, created, request["model"]))
    except orjson.JSONDecodeError:
        return to_refusal(row.errors, refusal_of("bad_json"))
    except (KeyError, TypeError, AttributeError, InvalidRequest) as error:
        # Of a form that the checks do not know: refused, since a hosted server refuses it too.
        return to_refusal(row.errors, refusal_of("unknown_field", name=str(error)))
    except RefusedRequest as refused:
        return to_refusal(row.errors, refused)


def _without_own_name(model: str, row: SimulatedVendor) -> str:
    """Return `gemini-3-flash` for `gemini/gemini-3-flash`. An author's name, such as `openai/` at Groq, stays."""
    name, slash, rest = model.partition("/")
    return rest if slash and name in (row.name, *row.aliases) else model


def to_vendor_list(vendor: str) -> Json:
    """Answer `GET /models` of that server."""
    listed = [
        {"id": model.id, "object": "model", "created": CATALOGUE_CREATED, "owned_by": vendor, **model.facts}
        for model in VENDOR_ROWS[vendor].models
    ]
    return {"object": "list", "data": listed}


def _answer(request: dict[str, Any], row: SimulatedVendor, generation: Generation) -> Script:
    messages = [_without_thinking(message) for message in request["messages"]]
    prompt = to_prompt({**request, "messages": messages})
    required = prompt.tool_required and row.obeys_choice
    prompt = replace(prompt, tool_required=required, parallel=prompt.parallel or not row.obeys_parallel)
    limit = row.listed(prompt.model).tokens
    if prompt.tokens > limit or prompt.model == f"{PREFIX}overflow":
        tokens = max(prompt.tokens, limit + 1)
        asked = prompt.max_tokens or 0
        raise refusal_of("overflow", tokens=tokens, limit=limit, asked=asked, total=tokens + asked, status=400)
    if failed := re.fullmatch(rf"{PREFIX}error-([45]\d\d)", prompt.model):
        raise refusal_of(failed[1], status=int(failed[1]))
    play = PLAYS.get(prompt.model.removeprefix(PREFIX)) if prompt.model.startswith(PREFIX) else None
    completion = bounded(prompt, (play or _echo)(prompt, generation))
    thinks = is_thinking(request, row.thinking) or prompt.model.startswith(f"{PREFIX}thinking")
    answer = VendorAnswer(
        row=row,
        generation=generation,
        completion=with_own_ids(row, generation, completion),
        thought=THOUGHT if thinks and row.thinking.field else "",
        counted=bool((request.get("stream_options") or {}).get("include_usage")),
    )
    return to_streamed_script(answer) if prompt.streamed else to_whole(answer)


def _without_thinking(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [part for part in content if part["type"] != "thinking"]}


def _echo(prompt: SimulatedPrompt, generation: Generation) -> Completion:
    """Repeat the user's text, or call the tools that it names, several at once if that is allowed."""
    asked = tuple(tool for tool in prompt.tools if is_asked_for(tool, prompt.text))
    if not asked and prompt.tool_required:
        asked = prompt.tools[:1]
    if not asked or prompt.results:
        return to_answer(prompt)
    return calling(prompt, generation, asked if prompt.parallel else asked[:1])


def _length(prompt: SimulatedPrompt, _: Generation) -> Completion:
    return replace(to_answer(prompt), finish_reason="length")


def _text(prompt: SimulatedPrompt, _: Generation) -> Completion:
    return Completion(prompt.tokens, to_words(200))


PLAYS: Mapping[str, Callable[[SimulatedPrompt, Generation], Completion]] = {
    "echo": _echo,
    "length": _length,
    "text-200": _text,
    "thinking": _echo,
    "thinking-tool": to_call,
    "tool": to_call,
    "tools-parallel": to_two_calls,
}
