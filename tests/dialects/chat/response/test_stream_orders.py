"""Pieces of an upstream in any order: each lands whole in its own block, and blocks keep their order.

The expected blocks are worked out here by a separate rule: a block stands where its first piece came, and a piece of
text or reasoning joins the block before it if that is of its kind.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, product
from typing import Any

import pytest

from gateway.messages.envelope import Envelope, open_envelope
from tests.support.streams import (
    KEYRING,
    Json,
    call,
    check_grammar,
    detail,
    finish,
    say,
    think,
    told,
)

# What each letter of an order sends. A second `a` goes on with the same call; `z` ends it; `B` is a whole call.
TEXT, REASONING, SECRET, PART, LAST, OTHER, BARE = "t", "r", "s", "a", "z", "B", "C"
ALPHABET = (TEXT, REASONING, SECRET, PART, LAST, OTHER, BARE)


class Script:
    """Payloads for an order, and the expected blocks: (kind, content) in order."""

    def __init__(self, order: Iterable[str]) -> None:
        self.payloads: list[Json] = []
        self.blocks: list[tuple[str, list[Any]]] = []
        self.calls: dict[str, list[Any]] = {}
        self.is_broken = False  # a call went on after its end
        for number, letter in enumerate(order):
            self.add(letter, number)

    def add(self, letter: str, number: int) -> None:
        match letter:
            case "t":
                self.payloads.append(say(f"text {number} "))
                self.grow("text", f"text {number} ")
            case "r":
                self.payloads.append(think(f"thought {number} "))
                self.grow("thinking", f"thought {number} ")
            case "s":
                self.payloads.append(detail(type="reasoning.encrypted", data=f"secret {number}"))
                self.grow("thinking", {"type": "reasoning.encrypted", "data": f"secret {number}"})
            case "a" | "z":
                self.add_to_a_call(ending=letter == "z", number=number)
            case "B":
                self.begin_call("B", call(1, '{"whole": [1]}', "call_b", "b"), '{"whole": [1]}')
            case "C":
                self.begin_call("C", call(2, "", "call_c", "c"), "")

    def add_to_a_call(self, *, ending: bool, number: int) -> None:
        fragments = self.calls.get("A")
        if fragments is None:
            fragment = '{"parts": []}' if ending else f'{{"parts": ["{number}"'
            self.begin_call("A", call(0, fragment, "call_a", "a"), fragment)
            return
        has_ended = fragments[-1].endswith("}")
        self.is_broken = self.is_broken or (has_ended and not ending)
        fragment = "]}" if ending else f', "{number}"'
        self.payloads.append(call(0, fragment))
        if not has_ended:  # further brackets are noise
            fragments.append(fragment)

    def begin_call(self, letter: str, payload: Json, fragment: str) -> None:
        """Begin a call. A whole call that is sent again is a repetition."""
        self.payloads.append(payload)
        if letter not in self.calls:
            self.calls[letter] = [fragment]
            self.blocks.append(("tool_use", self.calls[letter]))

    def grow(self, kind: str, piece: Any) -> None:
        """Reasoning without any text does not part text from text: it stands behind, for itself."""
        line = [block for block in self.blocks if kind != "text" or not is_hidden(block)]
        if line and line[-1][0] == kind:
            line[-1][1].append(piece)
        else:
            self.blocks.append((kind, [piece]))


def is_hidden(block: tuple[str, list[Any]]) -> bool:
    kind, pieces = block
    return kind == "thinking" and all(isinstance(piece, dict) for piece in pieces)


def expected_of(script: Script) -> list[Any]:
    blocks: list[Any] = []
    for kind, pieces in script.blocks:
        visible = "".join(piece for piece in pieces if isinstance(piece, str))
        if kind == "thinking":
            entries = [piece for piece in pieces if isinstance(piece, dict)]
            blocks.append(("thinking" if visible else "redacted_thinking", visible, entries))
        else:
            blocks.append((kind, visible))
    return blocks


def seen_in(blocks: Sequence[Json]) -> list[Any]:
    seen: list[Any] = []
    for block in blocks:
        match block["type"]:
            case "text":
                seen.append(("text", block["text"]))
            case "thinking":
                seen.append(("thinking", block["thinking"], entries_in(block["signature"])))
            case "redacted_thinking":
                seen.append(("redacted_thinking", "", entries_in(block["data"])))
            case "tool_use":
                assert isinstance(block["input"], dict)
                seen.append(("tool_use", block.get("json", "")))
    return seen


def entries_in(sealed: str) -> Any:
    envelope = open_envelope(sealed, KEYRING)
    assert isinstance(envelope, Envelope)
    return envelope.entries


def closed(block: Any) -> Any:
    """A call that was never ended, as the gateway ends it."""
    kind, content, *rest = block
    is_unended = kind == "tool_use" and content.startswith('{"parts"') and not content.endswith("}")
    return (kind, content + "]}" if is_unended else content, *rest)


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_any_order_of_deltas_gives_every_block_whole_and_in_place(length: int) -> None:
    for order in product(ALPHABET, repeat=length):
        script = Script(order)
        result = told(*script.payloads, finish())
        check_grammar(result.events, complete=not script.is_broken)
        assert (result.failure is not None) == script.is_broken, order
        if not script.is_broken:
            assert seen_in(result.blocks) == [closed(block) for block in expected_of(script)], order
            assert result.stop["stop_reason"] == ("tool_use" if script.calls else "end_turn")


def riffles(first: Sequence[Any], second: Sequence[Any]) -> Iterator[list[Any]]:
    """Every interleaving that keeps the order within each."""
    total = len(first) + len(second)
    for places in combinations(range(total), len(first)):
        ones, others = iter(first), iter(second)
        yield [next(ones) if place in places else next(others) for place in range(total)]


CITY = ["", '{"city": "Pa', 'ris", "at": {"x": 1', "}}"]
ZONE = ['{"zone"', ": [1,", " 2]}"]
# Forms in which the pieces of a call identify it.
FORMS: dict[str, Callable[[int, int, str], tuple[int | None, str | None, str | None]]] = {
    "id and name in the first piece": lambda index, number, name: (
        (index, f"id_{name}", name) if number == 0 else (index, None, None)
    ),
    "id and name in every piece": lambda index, number, name: (index, f"id_{name}", name),
    "an illegal id in every piece": lambda index, number, name: (index, f"f.{name}:0", name),
    "another id in every piece": lambda index, number, name: (index, f"id_{number}", name if number == 0 else None),
    "no index": lambda index, number, name: (None, f"id_{name}", name if number == 0 else None),
    "no id": lambda index, number, name: (index, None, name if number == 0 else None),
}


def pieces_of(index: int, name: str, fragments: Sequence[str], form: str) -> list[Json]:
    pieces = []
    for number, fragment in enumerate(fragments):
        place, call_id, said_name = FORMS[form](index, number, name)
        pieces.append(call(place, fragment, call_id, said_name))
    return pieces


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("first", "second"), [(CITY, ZONE), (CITY, CITY), (ZONE, ZONE)], ids=["4 and 3", "4 and 4", "3 and 3"]
)
@pytest.mark.covers("Tools · parallel calls and their results")
def test_two_calls_riffled_in_any_way_keep_their_arguments(form: str, first: list[str], second: list[str]) -> None:
    for payloads in riffles(pieces_of(0, "one", first, form), pieces_of(1, "two", second, form)):
        result = told(*payloads, finish("tool_calls"))
        check_grammar(result.events, complete=True)
        assert {block["name"]: block["json"] for block in result.blocks} == {
            "one": "".join(first),
            "two": "".join(second),
        }
        assert len({block["id"] for block in result.blocks}) == 2


def test_text_riffled_with_two_calls_keeps_its_order() -> None:
    words = [say(word) for word in ("One ", "two ", "three.")]
    calls = pieces_of(0, "one", ZONE, "id and name in the first piece")
    for payloads in riffles(words, calls):
        result = told(*payloads, call(1, "{}", "id_two", "two"), finish("tool_calls"))
        check_grammar(result.events, complete=True)
        assert "".join(block["text"] for block in result.blocks if block["type"] == "text") == "One two three."
        assert [block["json"] for block in result.blocks if block["type"] == "tool_use"] == ["".join(ZONE), "{}"]
