"""The matrices of the scripted model: a one-layer Llama that recites scripts.

How it works:
- The chat template ends the prompt with one start token, for instance `<|run:tool|>`.
- The attention head finds the start token, of which a prompt has exactly one, and writes the number of the script into
  the hidden state of every later position.
- The MLP has one unit for each (script, piece). It fires where both are present and writes the next piece into the part
  of the state that the output matrix reads. Temperature has no effect.
- Where a grammar forbids the scripted piece (a forced tool, a JSON schema), fixed preferences (end, quote, closing
  brackets, …) complete the JSON soon. A forced call follows the scripted text.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.servers.model.scripts import END, LOOPS, SCRIPTS, VOCABULARY, start_token, to_token

SCRIPT_SLOTS = 64
# Parts of the hidden state: the present token, the running script, the next token.
SCRIPT = VOCABULARY
NEXT = VOCABULARY + SCRIPT_SLOTS
HIDDEN = VOCABULARY + SCRIPT_SLOTS + VOCABULARY
UNITS = 256
HEAD = 64
CONTEXT = 262_144

# Each norm turns a state of n ones into one of n times root(HIDDEN / n): the value of a one after the first (before
# attention, n = 1), the second (before the MLP, n = 2) and the last norm (n = 3: token, script, next).
FIRST = HIDDEN**0.5
SECOND = (HIDDEN / 2) ** 0.5
LAST = (HIDDEN / 3) ** 0.5

# Rotary positions turn 32 pairs of values; the last pair turns so slowly that it stays as it is.
SLOW = 31
SLOW_INTERLEAVED = 62  # GGUF stores the two halves of a pair side by side

# Used only where a grammar forbids the scripted piece. Ordered so that JSON ends as soon as it may.
PREFERENCES = {END: 64, '"': 56, "}": 48, "]": 40, ",": 32, ":": 24, "1": 16, "t": 10, "{": 5}


@dataclass(slots=True)
class Matrix:
    rows: int
    columns: int
    values: "array[float]" = field(init=False)

    def __post_init__(self) -> None:
        self.values = array("f", bytes(4 * self.rows * self.columns))

    def __setitem__(self, place: tuple[int, int], value: float) -> None:
        row, column = place
        self.values[row * self.columns + column] = value

    def fill(self, row: int, value: float) -> None:
        """Set the part of a row that reads or writes the present token."""
        start = row * self.columns
        self.values[start : start + VOCABULARY] = array("f", [value]) * VOCABULARY


def build_weights(tokens: dict[str, str], slow_row: int) -> dict[str, Matrix]:
    """Return the matrices; `slow_row` is where the file format keeps the value that rotary positions leave alone."""
    index = {token: number for number, token in enumerate(tokens)}
    attention = [Matrix(HEAD, HIDDEN) for _ in range(3)]
    query, key, value = attention
    output = Matrix(HIDDEN, HEAD)
    query.fill(slow_row, 1)
    for number, script in enumerate(SCRIPTS):
        key[slow_row, index[start_token(script)]] = 1
        value[number, index[start_token(script)]] = 1 / FIRST
        output[SCRIPT + number, number] = 1
    embedding = Matrix(VOCABULARY, HIDDEN)
    for token in range(VOCABULARY):
        embedding[token, token] = 1
    gate, up, down = _build_mlp(index)
    return {
        "embedding": embedding,
        "head": _build_head(index),
        "query": query,
        "key": key,
        "value": value,
        "output": output,
        "gate": gate,
        "up": up,
        "down": down,
    }


def _build_mlp(index: dict[str, int]) -> tuple[Matrix, Matrix, Matrix]:
    gate, up, down = Matrix(UNITS, HIDDEN), Matrix(UNITS, HIDDEN), Matrix(HIDDEN, UNITS)
    for unit, (script, now, after) in enumerate(_steps(index)):
        # There is always a present token, so only the pair of this token and this script exceeds 0.
        gate.fill(unit, -30 / SECOND)
        gate[unit, now] = -10 / SECOND
        gate[unit, SCRIPT + script] = 20 / SECOND
        up.fill(unit, 1 / SECOND)
        down[NEXT + after, unit] = 0.1  # silu(10) is about 10, so this writes a one
        if after == index[END]:
            down[NEXT + index["<tool_call>"], unit] = 0.09  # the second choice, where a grammar forbids the end
    return gate, up, down


def _steps(index: dict[str, int]) -> Iterator[tuple[int, int, int]]:
    """Yield the number of a script, a token and the token that follows it in this script."""
    for number, (name, pieces) in enumerate(SCRIPTS.items()):
        chain = [index[start_token(name)], *(index[to_token(piece)] for piece in pieces)]
        assert len(set(chain)) == len(chain), f"a piece occurs twice in {name}"
        end = chain[-LOOPS[name]] if name in LOOPS else index[END]
        following = [*chain[1:], end]
        yield from ((number, now, after) for now, after in zip(chain, following, strict=True))
        if index["<tool_call>"] not in chain:  # a grammar may force a call
            yield number, index["<tool_call>"], index['\n{"name": "']
        if index["\n\n"] not in chain:  # with thinking off, the prompt ends in an empty <think> part
            yield number, index["\n\n"], following[0]


def _build_head(index: dict[str, int]) -> Matrix:
    head = Matrix(VOCABULARY, HIDDEN)
    for token, preference in PREFERENCES.items():
        head.fill(index[to_token(token)], preference / LAST)
    # After a forced call: a line end and the end of the call, so that no second call follows.
    for token, before in [("\n", "}"), ("\n", '"}}'), ("</tool_call>", "\n")]:
        head[index[to_token(token)], index[to_token(before)]] = 44 / LAST
    for token in range(VOCABULARY):
        head[token, NEXT + token] = 100 / LAST
    return head
