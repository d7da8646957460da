"""Cache breakpoints: how many, and in which order of lifetimes (Anthropic docs, prompt caching).

A breakpoint caches the prompt up to its block, in the order tools, system, messages. Breakpoints of an hour come before
those of five minutes. A top-level `cache_control` sets one on the last block, and takes one of the four places.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from gateway.errors import InvalidRequest
from gateway.messages.tools.tool_cache import derived
from gateway.messages.validation.block_index import Inventory
from gateway.messages.validation.error_messages import EXTRA_INPUT
from gateway.schemas.anthropic import PromptFields

# Anthropic refuses a fifth: "A maximum of 4 blocks with cache_control may be provided."
MAX_BREAKPOINTS = 4

# Blocks that cannot end a cached prefix.
UNCACHED_TYPES = frozenset({"thinking", "redacted_thinking"})

ORDER = "Note that blocks are processed in the following order: `tools`, `system`, `messages`."


def check_breakpoints(request: PromptFields, inventory: Inventory) -> None:
    """Raises InvalidRequest for a fifth breakpoint, for 1h after 5m, and for one where none can be."""
    for path, block in inventory.cached:
        if block["type"] in UNCACHED_TYPES:
            raise InvalidRequest(f"{path}.cache_control: {EXTRA_INPUT}")
    system: Any = request.get("system")
    marks = [
        *derived(_of_tools, request.get("tools") or ()),
        *_marks("system", system if isinstance(system, list) else ()),
        *((f"{path}.cache_control", _ttl(block["cache_control"])) for path, block in inventory.cached),
    ]
    automatic = request.get("cache_control")
    if automatic is not None and not _is_set_already(request, _ttl(automatic)):
        marks.append(("cache_control", _ttl(automatic)))
    if len(marks) > MAX_BREAKPOINTS:
        found = f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {len(marks)}."
        raise InvalidRequest(found)
    has_short = False
    for path, ttl in marks:
        if ttl == "1h" and has_short:
            problem = "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block."
            raise InvalidRequest(f"{path}.ttl: {problem} {ORDER}")
        has_short = has_short or ttl == "5m"


def _of_tools(tools: Iterable[Any]) -> tuple[tuple[str, str], ...]:
    return tuple(_marks("tools", tools))


def _marks(name: str, blocks: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for index, block in enumerate(blocks):
        control = block.get("cache_control")
        if control is not None:
            yield f"{name}.{index}.cache_control", _ttl(control)


def _is_set_already(request: PromptFields, ttl: str) -> bool:
    """Return whether the last block has the breakpoint of the top-level field; raises when it has another."""
    content: Any = request["messages"][-1].get("content")
    control = content[-1].get("cache_control") if isinstance(content, list) and content else None
    if control is None:
        return False
    if _ttl(control) != ttl:
        raise InvalidRequest(
            f"cache_control.ttl: the last block already has cache_control with ttl='{_ttl(control)}', not '{ttl}'"
        )
    return True


def _ttl(control: Any) -> str:
    ttl: str = control.get("ttl", "5m")
    return ttl
