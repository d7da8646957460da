"""Long runs of small parts, anywhere within a request: ten times as many take no more than twelve times the work."""

from collections.abc import Callable
from random import Random
from typing import Any

import orjson

from gateway.dialects.chat.client.request import to_messages_request as from_chat
from gateway.dialects.chat.request.convert import to_chat_request
from gateway.dialects.chat.request.encode import to_json
from gateway.dialects.clients.tools import ToolRegistry
from gateway.dialects.responses.client.request import to_messages_request as from_responses
from gateway.errors import InvalidRequest
from gateway.messages.tokens.profiles import to_profile
from gateway.messages.tokens.prompt import prompt_estimate
from gateway.messages.validation import check_messages_request
from tests.dialects.clients.conversions import ASKING
from tests.messages.validation.test_validation_fuzz import RICH
from tests.support import conversions as ways
from tests.support.growth import Work, growth_of

Json = dict[str, Any]

MOST = 12.0
FEW = 4
TARGETS = (ways.CLAUDE, ways.STRICT, ways.GPT)
CHAT: Json = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {
            "role": "assistant",
            "content": "b",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "t", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "r"},
        {"role": "user", "content": "a"},
    ],
    "tools": [{"type": "function", "function": {"name": "t", "parameters": {"type": "object", "required": ["a"]}}}],
    "stop": ["x"],
}
RESPONSES: Json = {
    "model": "m",
    "input": [
        {"type": "message", "role": "developer", "content": "s"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}]},
        {"type": "function_call", "call_id": "c", "name": "t", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "r"},
        {"type": "additional_tools", "tools": [{"type": "function", "name": "u"}]},
        {"type": "message", "role": "user", "content": "a"},
    ],
    "tools": [{"type": "function", "name": "t"}, {"type": "namespace", "name": "n", "tools": [{"name": "v"}]}],
}


def asked_in_messages(body: Json) -> None:
    checked, _ = check_messages_request(body, version="2023-06-01", betas=frozenset())
    prompt_estimate(checked, to_profile(body["model"]))
    target = TARGETS[len(body["messages"]) % len(TARGETS)]
    to_json(to_chat_request(checked, target, ways.KEYRING).body, 0)


WAYS: tuple[tuple[Json, Callable[[Json], object]], ...] = (
    (RICH, asked_in_messages),
    (CHAT, lambda body: from_chat(body, ASKING, ToolRegistry())),
    (RESPONSES, lambda body: from_responses(body, ASKING)),
)


def fuzz_runs(random: Random) -> str:
    """Repeat the items of a list, one part or several in turn, some with separate numbers."""
    body, convert = random.choice(WAYS)
    path = random.choice(paths_of_lists(body))
    items = at(body, path)
    run = [orjson.dumps(item) for item in random.choices(items, k=random.randrange(1, 4))]
    place = random.randrange(len(items) + 1)
    is_numbered = random.random() < 0.5

    def prepare(n: int) -> Work:
        # Twelve of a kind at least, so that what is done once for all does not hide a square.
        parts = [numbered(orjson.loads(part), i if is_numbered else 0) for i in range(3 * n) for part in run]
        long = orjson.loads(orjson.dumps(body))
        at(long, path)[place:place] = parts
        return lambda: convert(long)

    try:
        lines, allocated = growth_of(prepare, FEW)
    except InvalidRequest:
        return "refused"
    assert lines <= MOST, f"{lines:.1f} times the lines for ten times as many at {path}: {run}"
    assert allocated <= MOST, f"{allocated:.1f} times the memory for ten times as many at {path}: {run}"
    return "measured"


def numbered(part: Any, number: int) -> Any:
    """Give names and ids a number, so that no two parts have the same."""
    if not number:
        return part
    if isinstance(part, str):
        return f"{part}{number}"
    if isinstance(part, dict):
        return {
            key: f"{value}_{number}" if key in ("id", "name", "call_id", "tool_use_id", "tool_call_id") else value
            for key, value in part.items()
        }
    return part


def paths_of_lists(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the paths of all lists that are not empty."""
    if isinstance(value, list):
        found = [path] if value and path else []
        return found + [one for index, item in enumerate(value) for one in paths_of_lists(item, (*path, index))]
    if isinstance(value, dict):
        return [one for key, item in value.items() for one in paths_of_lists(item, (*path, key))]
    return []


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value
