"""How many tokens a text comes to, told by the kinds of characters in it: nothing to load, no vocabulary in memory.

A vocabulary cuts words, numbers, punctuation and scripts each in its own way, and rather evenly within each. So a text
is counted by character class and by where runs of a class begin, and each count has a weight. There is one column of
weights for each sort of vocabulary; docs/tokens.md says how they were fitted and how far they err, kind by kind.

All weights are positive and all counts only grow with a text, hence so does its number of tokens.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.convert.target import bare_name, claude_version, to_family

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
    return "0" if character in DIGITS else "." if character in PUNCTUATION else " "


CLASSES = _by_byte(_class_of)
RUNS = {
    "words": _marking(ASCII_LETTERS),
    "numbers": _marking(DIGITS),
    "punctuation": _marking(PUNCTUATION),
    "lines": _marking("\r\n"),
}

# What is counted in the classes of a text, and its weights: Claude from 4.7 on, Claude before, vocabularies with
# digits in groups of up to three (OpenAI, Llama, DeepSeek …), and those with digits one by one (Qwen, Mistral, Gemini).
ASCII_WEIGHTS = {
    "a": (0.288, 0.084, 0.087, 0.102),  # lower case
    "A": (0.765, 0.228, 0.153, 0.210),  # upper case
    "aA": (1.03, 2.01, 1.22, 1.14),  # words within a word
    "0": (0.28, 0.24, 0.32, 0.96),
    ".": (0.20, 0.05, 0.05, 0.08),
    " ": (0.02, 0.02, 0.02, 0.04),
}
WIDE_WEIGHTS = {
    "l": (2.12, 1.62, 1.38, 0.89),
    "g": (0.77, 0.76, 0.49, 0.41),
    "r": (0.49, 0.47, 0.42, 0.36),
    "h": (0.81, 0.80, 0.57, 0.42),
    "i": (0.97, 0.96, 0.81, 0.62),
    "j": (0.92, 0.91, 1.19, 0.67),
    "s": (0.52, 0.52, 0.38, 0.43),
    "k": (0.77, 0.77, 0.63, 0.50),
    "c": (1.13, 1.11, 0.70, 0.76),
    "K": (1.33, 1.30, 0.83, 0.64),
    "F": (1.30, 1.40, 0.93, 1.19),
    "e": (4.05, 5.11, 2.94, 3.41),
}
# Runs of one sort that have at least so many characters.
RUN_WEIGHTS = {
    ("words", 1): (0.07, 0.51, 0.34, 0.29),
    ("words", 5): (0.96, 0.89, 1.14, 0.93),
    ("numbers", 1): (1.46, 1.25, 1.27, 0.92),
    ("punctuation", 1): (0.17, 0.50, 0.14, 0.12),
    ("punctuation", 2): (0.93, 0.31, 0.29, 0.38),
    ("lines", 1): (2.25, 2.22, 1.79, 2.10),
}

Weights = tuple[tuple[bytes, float], ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """One sort of vocabulary, and what the models that use it make of the rest of a prompt.

    `bytes_per_token`: of JSON as clients send it, the median over kinds of text. `tool_prompt`: tokens that come with
    the first tool. An image is scaled to `image_edge` pixels, and costs at most `image_tokens`.
    """

    name: str
    ascii: Weights
    wide: Weights
    runs: tuple[tuple[bytes, Weights], ...]
    bytes_per_token: float
    tool_prompt: int
    page_tokens: int
    image_edge: int
    image_tokens: int


def text_tokens(text: str, profile: Profile) -> float:
    return sum(text_steps(text, profile))


def text_steps(text: str, profile: Profile) -> Iterator[float]:
    """The same piece by piece, for callers with other things to do in between."""
    for start in range(0, len(text), PIECE):
        yield _piece_tokens(text[start : start + PIECE] if len(text) > PIECE else text, profile)


def to_profile(model: str) -> Profile:
    """By the name of the upstream's model; most vocabularies that are not listed resemble those of GENERAL."""
    if to_family(model) == "claude":
        return CLAUDE if claude_version(model) >= (4, 7) else OLDER_CLAUDE
    return SINGLE_DIGITS if bare_name(model).startswith(SINGLE_DIGIT_NAMES) else GENERAL


def _piece_tokens(piece: str, profile: Profile) -> float:
    data = piece.encode("utf-8", "surrogatepass")
    classes = data.translate(CLASSES)
    tokens = 0.0
    for code, weight in profile.ascii:
        tokens += classes.count(code) * weight
    if len(data) != len(piece):
        for code, weight in profile.wide:
            tokens += classes.count(code) * weight
    for table, weights in profile.runs:
        runs = OUT_OF_RUN + data.translate(table)
        for beginning, weight in weights:
            tokens += runs.count(beginning) * weight
    return tokens


def _profile(name: str, column: int, **rest: float) -> Profile:
    runs = {
        sort: tuple(
            (OUT_OF_RUN + IN_RUN * least, weights[column])
            for (own_sort, least), weights in RUN_WEIGHTS.items()
            if own_sort == sort
        )
        for sort in RUNS
    }
    return Profile(
        name=name,
        ascii=tuple((code.encode(), weights[column]) for code, weights in ASCII_WEIGHTS.items()),
        wide=tuple((code.encode(), weights[column]) for code, weights in WIDE_WEIGHTS.items()),
        runs=tuple((RUNS[sort], weights) for sort, weights in runs.items()),
        **rest,  # type: ignore[arg-type]
    )
