"""How many tokens a text comes to, told by the kinds of characters in it: nothing to load, no vocabulary in memory.

A vocabulary cuts words, numbers, punctuation and scripts each in its own way, and rather evenly within each. So a text
is counted by character class and by where runs of a class begin, and each count has a weight. There is one column of
weights for each sort of vocabulary; docs/tokens.md says how they were fitted and how far they err, kind by kind.

All weights are positive and all counts only grow with a text, hence so does its number of tokens.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

# What is counted at once: some 0.3 ms of work. A text is cut at multiples of it, so one that grows keeps its cuts.
PIECE = 16_384

IN_RUN, OUT_OF_RUN = b"a", b"."


def _by_byte(code: Callable[[int], str]) -> bytes:
    return "".join(code(byte) for byte in range(256)).encode()


def _marking(characters: str) -> bytes:
    """A table that leaves nothing of a text but where these ASCII characters are."""
    return _by_byte(lambda byte: "a" if chr(byte) in characters else ".")


ASCII_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
PUNCTUATION = "".join(chr(code) for code in range(33, 127) if chr(code) not in ASCII_LETTERS + DIGITS)

# The first byte of a character tells its script; the code stands for it in a text's classes.
LEAD_BYTES = (
    (0xF0, "e"),  # emoji, and rare scripts
    (0xEE, "F"),  # private use, full and half width
    (0xEA, "K"),  # Hangul
    (0xE4, "c"),  # Chinese
    (0xE3, "k"),  # kana, and the punctuation that goes with them
    (0xE2, "s"),  # typographic marks, arrows, boxes
    (0xE1, "j"),  # Georgian, Khmer, Burmese, Vietnamese letters …
    (0xE0, "i"),  # Indic scripts, Thai, Lao
    (0xD4, "h"),  # Armenian, Hebrew, Arabic
    (0xD0, "r"),  # Cyrillic
    (0xCE, "g"),  # Greek
    (0xC0, "l"),  # Latin letters beyond ASCII
    (0x80, "~"),  # a further byte of a character
)


def _class_of(byte: int) -> str:
    if byte >= 0x80:
        return next(code for first, code in LEAD_BYTES if byte >= first)
    character = chr(byte)
    if character in ASCII_LETTERS:
        return "a" if character.islower() else "A"
    if character in DIGITS:
        return "0"
    return "." if character in PUNCTUATION else "n" if character == "\n" else " "


CLASSES = _by_byte(_class_of)
RUNS = {
    "words": _marking(ASCII_LETTERS),
    "numbers": _marking(DIGITS),
    "punctuation": _marking(PUNCTUATION),
}

# What is counted in the classes of a text, and its weights: Claude from 4.7 on, Claude before, vocabularies with
# digits in groups of up to three (OpenAI, Llama, DeepSeek …), and those with digits one by one (Qwen, Mistral, Gemini).
ASCII_WEIGHTS = {
    "a": (0.278, 0.076, 0.083, 0.094),  # lower case
    "A": (0.759, 0.222, 0.148, 0.205),  # upper case
    "aA": (1.05, 2.03, 1.25, 1.16),  # words within a word
    "0": (0.28, 0.23, 0.32, 0.96),
    ".": (0.18, 0.05, 0.05, 0.06),
    " ": (0.02, 0.03, 0.02, 0.04),
    "n": (2.15, 1.96, 1.57, 2.03),  # line breaks
}
WIDE_WEIGHTS = {
    "l": (2.30, 1.84, 1.56, 1.07),
    "g": (0.77, 0.77, 0.50, 0.41),
    "r": (0.49, 0.47, 0.42, 0.36),
    "h": (0.81, 0.81, 0.58, 0.43),
    "i": (0.98, 0.98, 0.82, 0.63),
    "j": (0.92, 0.92, 1.21, 0.67),
    "s": (0.52, 0.53, 0.39, 0.44),
    "k": (0.77, 0.78, 0.64, 0.50),
    "c": (1.14, 1.13, 0.71, 0.77),
    "K": (1.33, 1.31, 0.84, 0.65),
    "F": (1.23, 1.27, 0.85, 1.12),
    "e": (4.45, 5.25, 3.04, 3.82),
}
# Runs of one sort that have at least so many characters.
RUN_WEIGHTS = {
    ("words", 1): (0.02, 0.44, 0.29, 0.24),
    ("words", 5): (1.04, 1.00, 1.22, 1.00),
    ("numbers", 1): (1.53, 1.32, 1.30, 0.96),
    ("punctuation", 1): (0.20, 0.53, 0.19, 0.15),
    ("punctuation", 2): (1.03, 0.32, 0.28, 0.46),
}

Weights = tuple[tuple[bytes, float], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """One column of the weights, in the form in which a text is counted: what to look for, and what it comes to."""

    ascii: Weights
    wide: Weights
    runs: tuple[tuple[bytes, Weights], ...]


def to_reading(column: int) -> Reading:
    return Reading(
        ascii=tuple((code.encode(), weights[column]) for code, weights in ASCII_WEIGHTS.items()),
        wide=tuple((code.encode(), weights[column]) for code, weights in WIDE_WEIGHTS.items()),
        runs=tuple((table, _run_weights(sort, column)) for sort, table in RUNS.items()),
    )


def text_tokens(text: str, reading: Reading) -> float:
    return sum(text_steps(text, reading))


def text_steps(text: str, reading: Reading) -> Iterator[float]:
    """The same piece by piece, for callers with other things to do in between."""
    for start in range(0, len(text), PIECE):
        yield _piece_tokens(text[start : start + PIECE], reading)


def _piece_tokens(piece: str, reading: Reading) -> float:
    data = piece.encode("utf-8", "surrogatepass")
    classes = data.translate(CLASSES)
    tokens = 0.0
    for code, weight in reading.ascii:
        tokens += classes.count(code) * weight
    if len(data) != len(piece):
        for code, weight in reading.wide:
            tokens += classes.count(code) * weight
    for table, weights in reading.runs:
        runs = OUT_OF_RUN + data.translate(table)
        for beginning, weight in weights:
            tokens += runs.count(beginning) * weight
    return tokens


def _run_weights(sort: str, column: int) -> Weights:
    return tuple(
        (OUT_OF_RUN + IN_RUN * least, weights[column])
        for (own_sort, least), weights in RUN_WEIGHTS.items()
        if own_sort == sort
    )
