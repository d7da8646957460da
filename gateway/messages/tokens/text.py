"""Token counts of text, estimated by character classes: nothing to load, no vocabulary in memory.

A vocabulary cuts words, numbers, punctuation and scripts each in its own way, and rather evenly within each. So a text
is counted by character class and by where runs of a class begin, and each count has a weight. There is one column of
weights for each sort of vocabulary; docs/tokens.md says how they were fitted and how far they err, kind by kind.

All weights are positive and all counts only grow with a text, so its number of tokens does too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

# What is counted at once: some 0.3 ms of work. A text is cut at multiples of it, so one that grows keeps its cuts.
PIECE = 16_384


def _by_byte(code: Callable[[int], str]) -> bytes:
    return "".join(code(byte) for byte in range(256)).encode()


def _only(characters: str, instead: str) -> bytes:
    """A table that leaves of a text only where these ASCII characters are, each as an `a`."""
    return _by_byte(lambda byte: "a" if chr(byte) in characters else instead)


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
PUNCTUATION = "".join(chr(code) for code in range(33, 127) if chr(code) not in LETTERS + DIGITS)

# The first byte of a character identifies its script; the code represents it in a text's classes.
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
    if character in LETTERS:
        return "a" if character.islower() else "A"
    if character in DIGITS:
        return "0"
    return "." if character in PUNCTUATION else "n" if character == "\n" else " "


CLASSES = _by_byte(_class_of)
WORDS = _only(LETTERS, ".")
# Runs of these are found by splitting at white space, in a fraction of the time of a search for their beginnings.
NUMBERS = _only(DIGITS, " ")
MARKS = _only(PUNCTUATION, " ")

WORD, LONG_WORD, SHORT_MARK = b".a", b".aaaaa", b"a"

# What is counted in the classes of a text, and its weights in five sorts of vocabulary: Claude from 4.7 on, Claude
# before, OpenAI, others with digits in groups (Llama, DeepSeek …), and those with digits one by one (Qwen, Mistral …).
ASCII_WEIGHTS = {
    "a": (0.325, 0.085, 0.074, 0.078, 0.092),  # lower case
    "A": (0.855, 0.265, 0.184, 0.189, 0.244),  # upper case
    "aA": (0.72, 1.47, 0.65, 0.60, 0.54),  # words within a word
    "0": (0.23, 0.20, 0.20, 0.20, 0.78),
    ".": (0.19, 0.05, 0.05, 0.05, 0.07),
    " ": (0.02, 0.05, 0.06, 0.04, 0.06),
    "n": (2.02, 1.79, 1.30, 1.48, 1.81),  # line breaks
}
WIDE_WEIGHTS = {
    "l": (2.47, 1.98, 1.25, 1.79, 1.16),
    "g": (0.78, 0.77, 0.41, 0.52, 0.41),
    "r": (0.49, 0.47, 0.35, 0.43, 0.36),
    "h": (0.82, 0.81, 0.40, 0.62, 0.44),
    "i": (0.98, 0.98, 0.43, 0.92, 0.64),
    "j": (0.92, 0.93, 0.48, 1.36, 0.68),
    "s": (0.53, 0.53, 0.38, 0.39, 0.44),
    "k": (0.77, 0.78, 0.69, 0.63, 0.51),
    "c": (1.15, 1.14, 0.78, 0.70, 0.79),
    "K": (1.34, 1.32, 0.71, 0.88, 0.66),
    "F": (1.22, 1.25, 1.29, 0.74, 1.08),
    "e": (4.84, 5.40, 3.19, 3.35, 3.77),
}
WORD_WEIGHTS = (0.04, 0.51, 0.38, 0.37, 0.30)
LONG_WORD_WEIGHTS = (0.33, 0.63, 0.81, 0.95, 0.79)  # five letters or more
NUMBER_WEIGHTS = (1.59, 1.42, 1.57, 1.65, 1.44)
MARK_WEIGHTS = (0.29, 0.50, 0.16, 0.11, 0.09)  # runs of punctuation
LONG_MARK_WEIGHTS = (0.84, 0.53, 0.68, 0.60, 0.72)  # two characters or more

Weights = tuple[tuple[bytes, float], ...]


@dataclass(frozen=True, slots=True, repr=False)
class Reading:
    """One column of the weights, in the form used for counting: patterns, and their weights."""

    ascii: Weights
    wide: Weights
    word: float
    long_word: float
    number: float
    mark: float
    long_mark: float


def to_reading(column: int) -> Reading:
    return Reading(
        ascii=tuple((code.encode(), weights[column]) for code, weights in ASCII_WEIGHTS.items()),
        wide=tuple((code.encode(), weights[column]) for code, weights in WIDE_WEIGHTS.items()),
        word=WORD_WEIGHTS[column],
        long_word=LONG_WORD_WEIGHTS[column],
        number=NUMBER_WEIGHTS[column],
        mark=MARK_WEIGHTS[column],
        long_mark=LONG_MARK_WEIGHTS[column],
    )


def text_steps(text: str, reading: Reading) -> Iterator[float]:
    """Yield the tokens of a text piece by piece, for callers with other things to do in between."""
    for start in range(0, len(text), PIECE):
        piece = text[start : start + PIECE]
        data = piece.encode("utf-8", "surrogatepass")
        classes = data.translate(CLASSES)
        words = b"." + data.translate(WORDS)
        marks = data.translate(MARKS).split()
        tokens = words.count(WORD) * reading.word + words.count(LONG_WORD) * reading.long_word
        tokens += len(data.translate(NUMBERS).split()) * reading.number
        tokens += len(marks) * reading.mark + (len(marks) - marks.count(SHORT_MARK)) * reading.long_mark
        for code, weight in reading.ascii:
            tokens += classes.count(code) * weight
        if len(data) != len(piece):
            for code, weight in reading.wide:
                tokens += classes.count(code) * weight
        yield tokens
