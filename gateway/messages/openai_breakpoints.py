"""Cache breakpoints in OpenAI's form, and their conversion to Anthropic's, which is `cache_control`.

OpenAI takes any number of them, and reads the latest 80.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.messages.validation.breakpoints import MAX_BREAKPOINTS

# The field of a block.
OPENAI_BREAKPOINT: Final = "prompt_cache_breakpoint"


def with_cache_control(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request with Anthropic's breakpoints in place of OpenAI's, the latest ones as far as there is room.

    Lifetimes are those of Anthropic's default: a longer one is only possible in front of all shorter ones.
    """
    room = MAX_BREAKPOINTS - _count(request.get("tools")) - _count(request.get("system"))
    room -= sum(_count(message.get("content")) for message in request["messages"])
    messages = []
    for message in reversed(request["messages"]):
        changed, room = _converted(message, "content", room)
        messages.append(changed)
    changed, _ = _converted({**request, "messages": messages[::-1]}, "system", room)
    return dict(changed)


def _count(blocks: Any) -> int:
    if not isinstance(blocks, list):
        return 0
    return sum(bool(block.get("cache_control")) + _count(block.get("content")) for block in blocks)


def _converted(holder: Any, name: str, room: int) -> tuple[Any, int]:
    """Return the object with converted blocks under this name, the same one if it has none, and the room left."""
    blocks = holder.get(name)
    if not isinstance(blocks, list):
        return holder, room
    converted = []
    for block in reversed(blocks):
        changed, room = _converted(block, "content", room)
        if OPENAI_BREAKPOINT in changed:
            mark = changed[OPENAI_BREAKPOINT]
            changed = {name: value for name, value in changed.items() if name != OPENAI_BREAKPOINT}
            if mark and room > 0 and not changed.get("cache_control"):
                changed["cache_control"] = {"type": "ephemeral"}
                room -= 1
        converted.append(changed)
    converted.reverse()
    if all(one is other for one, other in zip(blocks, converted, strict=True)):
        return holder, room
    return {**holder, name: converted}, room
