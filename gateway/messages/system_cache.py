"""Cache of long blocks of system prompts, which an agent sends with each request.

A block is found by its bytes, and shared: it is not parsed again, and its text is encoded once. Blocks are compared
one by one, because Claude Code puts a short one that changes with each request in front of them. Prompts with JSON that
has spaces between its parts are not recognised.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

import orjson

from gateway.messages.tools.tool_cache import places_of
from gateway.messages.written import Written

KEY: Final = b'"system":['
NEXT: Final = b"},{"
# Shorter texts are not worth looking for.
LEAST_TEXT: Final = 2000
# Of one prompt, from its start.
MOST_BLOCKS: Final = 6
# Of one tenant, the latest first: those of several agents, and of their sub-agents.
MOST_OF_TENANT: Final = 16


class CachedBlock(dict[str, Any]):
    """A block that requests share, never changed. `written`: its JSON as it stands in requests."""

    __slots__ = ("written",)

    def __init__(self, block: dict[str, Any], written: bytes) -> None:
        super().__init__(block)
        self.written = Written(written)


@dataclass(slots=True, repr=False)
class SystemCache:
    """Parse requests, with the blocks of earlier system prompts. `most_json`: bytes of all blocks.

    `stand_in`: text in the place of known blocks while the rest is parsed. Random, so that no client can have sent it.
    """

    stand_in: str
    most_json: int
    _known: OrderedDict[str, list[CachedBlock]] = field(default_factory=OrderedDict)  # by tenant, the latest last
    _json: int = 0

    def parse(self, body: bytes, tenant: str) -> Any:
        """Parse a body; the result equals that of orjson.loads, but blocks may be shared. Raises JSONDecodeError."""
        place = next(places_of(KEY, body), 0)
        found = list(self._find(body, place, tenant)) if place and tenant in self._known else []
        if found:
            recalled = self._recall(body, found)
            if recalled is not None:
                return recalled
        parsed = orjson.loads(body)
        if place and isinstance(parsed, dict) and isinstance(parsed.get("system"), list):
            self._learn(parsed["system"], body, place, tenant)
        return parsed

    def _find(self, body: bytes, place: int, tenant: str) -> Iterator[tuple[int, CachedBlock]]:
        """Yield known blocks of the prompt that begins at `place`, with their places."""
        known = self._known[tenant]
        self._known.move_to_end(tenant)
        for _ in range(MOST_BLOCKS):
            block = next((one for one in known if body.startswith(one.written.json, place)), None)
            if block is None:
                place = body.find(NEXT, place) + len(NEXT) - 1
            else:
                if block is not known[0]:
                    known.remove(block)
                    known.insert(0, block)
                yield place, block
                place += len(block.written.json) + 1
            if place < len(NEXT) or body[place : place + 1] != b"{":
                return

    def _recall(self, body: bytes, found: list[tuple[int, CachedBlock]]) -> dict[str, Any] | None:
        """Return the request if what was found are blocks of its own prompt."""
        pieces, place, stand_in = [], 0, orjson.dumps(self.stand_in)
        for start, block in found:
            pieces += [body[place:start], stand_in]
            place = start + len(block.written.json)
        try:
            parsed = orjson.loads(b"".join((*pieces, body[place:])))
        except orjson.JSONDecodeError:
            return None  # the full parse finds the position of the error
        system = parsed.get("system") if isinstance(parsed, dict) else None
        if not isinstance(system, list) or system.count(self.stand_in) != len(found):
            return None
        blocks = (block for _, block in found)
        parsed["system"] = [next(blocks) if one == self.stand_in else one for one in system]
        return cast(dict[str, Any], parsed)

    def _learn(self, system: list[Any], body: bytes, place: int, tenant: str) -> None:
        """Put shared blocks in the place of long ones, if the prompt is written as most clients write it."""
        for index, block in enumerate(system[:MOST_BLOCKS]):
            written = _written(block)
            if not written or not body.startswith(written, place):
                return
            place += len(written) + 1
            text = block.get("text")
            if isinstance(text, str) and len(text) >= LEAST_TEXT and len(written) * MOST_BLOCKS <= self.most_json:
                system[index] = CachedBlock(block, written)
                self._add(system[index], tenant)

    def _add(self, block: CachedBlock, tenant: str) -> None:
        known = self._known.setdefault(tenant, [])
        self._known.move_to_end(tenant)
        known.insert(0, block)
        self._json += len(block.written.json)
        if len(known) > MOST_OF_TENANT:
            self._json -= len(known.pop().written.json)
        while self._json > self.most_json:
            oldest = next(iter(self._known))
            self._json -= len(self._known[oldest].pop().written.json)
            if not self._known[oldest]:
                del self._known[oldest]


def _written(block: Any) -> bytes:
    """Return the block as most clients write it; nothing if it is no object, or cannot be written."""
    try:
        return orjson.dumps(block) if isinstance(block, dict) else b""
    except orjson.JSONEncodeError:
        return b""  # nested too deeply for orjson
