"""The answers of the scripted model and its tokens.

The last user text selects a script by a mark such as `#tool`; chat_template.jinja does the selecting. Any other text
gets `text`, and a tool result gets `after`.
"""

from typing import Final

Piece = str | tuple[str, ...]  # a tuple holds the bytes of an incomplete character, in hexadecimal

END: Final = "<|im_end|>"
START: Final = "<|im_start|>"
PAD: Final = "<|endoftext|>"
VOCABULARY: Final = 576

CALL: Final[list[Piece]] = [
    "<tool_call>",
    '\n{"name": "',
    "get_weather",
    '", "arguments": ',
    '{"city": "',
    "Paris",
    '"}}',
    "\n",
    "</tool_call>",
]
# The same text in other pieces, since a piece may occur only once in a script.
SECOND_CALL: Final[list[Piece]] = [
    "\n<tool",
    "_call>\n",
    '{"name": "get_',
    'weather", "argu',
    'ments": {"city"',
    ': "Lon',
    'don"}}\n',
    "</tool",
    "_call>",
]
BASH_CALL: Final[list[Piece]] = [
    "<tool_call>",
    '\n{"name": "',
    "Bash",
    '", "arguments": ',
    '{"command": "',
    "echo scripted",
    '", "description": "',
    "Says a word",
    '"}}',
    "\n",
    "</tool_call>",
]
THINK: Final[list[Piece]] = ["<think>", "\nLet me", " think", " about", " it", ".\n", "</think>", "\n\n"]

SCRIPTS: Final[dict[str, list[Piece]]] = {
    "text": ["Hello", " from", " a", " real", " server", "."],
    "tool": CALL,
    "two": [*CALL, *SECOND_CALL],
    "say": ["I will", " look", " now.\n", *CALL],
    "bash": BASH_CALL,
    "badtool": [*CALL[:6], '"', "\n", "</tool_call>"],  # two closing braces are missing
    "escape": [*CALL[:5], 'a \\"b\\"', "\\n", "C:\\\\temp", " \\u00e9", "\\t", *CALL[6:]],
    "think": [*THINK, "Thought", " and", " said", "."],
    "thinktool": [*THINK, *CALL],
    "thinkbash": [*THINK, *BASH_CALL],
    "longthink": ["<think>", "\nI think", " more", " and", " more still"],
    "long": ["again", " and", " once more"],
    "unicode": [
        *("caf", "e", ("CC",), ("81",), " "),
        *(("F0", "9F"), ("91", "A9"), ("E2", "80", "8D"), ("F0",), ("9F", "92"), ("BB",), " ok"),
    ],
    "stop": ["one", " two", " STOP", " three"],
    "json": ['{"answer": ', "42", ', "ok": ', "true", "}"],
    "empty": [],
    "after": ["The tool", " has", " answered", "."],
    "kept": ["Reasoning", " is", " here", "."],
    "lost": ["Reasoning", " is", " lost", "."],
    "low": ["Effort", " is", " low", "."],
    "medium": ["Effort", " is", " medium", "."],
    "high": ["Effort", " is", " high", "."],
    "other": ["Effort", " is", " something else", "."],
    "unset": ["Effort", " is", " unset", "."],
}

# The last this many pieces of these scripts repeat without end.
LOOPS: Final = {"longthink": 3, "long": 3}

# Byte-pair merges for common English, so that prompts do not cost a token for each letter.
MERGES: Final = """
Ġ t|h e|i n|r e|o n|Ġ a|e r|a t|o r|e n|e s|i s|i t|Ġ s|Ġt he|n d|Ġ w|Ġ o|Ġ c|o u|Ġ b|Ġ f|Ġ p|in g|a l|Ġ m|a n|Ġ d|
l e|a r|Ġ in|e d|r o|i c|Ġt o|Ġo f|i on|Ġa nd|s t|v e|l l|o m|Ġ re|s e|u t|i l|Ġ n|c e|Ġ i|o l|Ġ e|u s|a s|l o|Ġ h|
t er|at ion|Ġ l|Ġ is|Ġf or|Ġ u|e t|t o|Ġ Ġ|ĠĠ ĠĠ|ĠĠĠĠ ĠĠĠĠ|Ċ Ċ|: Ġ|i d|a c|en t|Ġy ou|Ġ y|p ro|u r|Ġb e|o o|c on|
Ġth at|Ġ th|Ġ it|Ġ on|Ġs h|it h|Ġw ith|a g|v er|o w|i m|p e|a m|u l|u n|c h|q u|k e|t h|m e|n e|d e|s s|t e|m p|n t|
l y|a y|Ġu s|Ġus e|Ġn o|Ġno t|Ġa re|o t|a d|e l|i v|i f|p t|c t|a b|e x|f il
"""

# Bytes that byte-level BPE writes as the character itself; every other byte gets a character from 256 on.
_SHOWN = frozenset([*range(33, 127), *range(161, 173), *range(174, 256)])
_HIDDEN = [byte for byte in range(256) if byte not in _SHOWN]
BYTE_LETTERS: Final = {
    **{byte: chr(byte) for byte in sorted(_SHOWN)},
    **{byte: chr(256 + place) for place, byte in enumerate(_HIDDEN)},
}


def start_token(script: str) -> str:
    return f"<|run:{script}|>"


def to_token(piece: Piece) -> str:
    """Return the token of a piece of a script, as the vocabulary spells it."""
    if isinstance(piece, tuple):
        return "".join(BYTE_LETTERS[int(byte, 16)] for byte in piece)
    return piece if len(piece) > 1 else BYTE_LETTERS[ord(piece)]


def build_vocabulary() -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the kind of each token (`normal`, `user` for added text, `control` for hidden ones) and the merges."""
    tokens = dict.fromkeys(BYTE_LETTERS_IN_ORDER, "normal")
    merges = [_pair(merge) for merge in MERGES.replace("\n", "").split("|")]
    tokens.update((left + right, "normal") for left, right in merges)
    pieces = [piece for script in SCRIPTS.values() for piece in script]
    for piece in pieces:
        if isinstance(piece, tuple):
            _merge_bytes(to_token(piece), tokens, merges)
    for piece in ["<think>", "</think>", "<tool_call>", "</tool_call>", *pieces]:
        if isinstance(piece, str) and len(piece) > 1:
            tokens.setdefault(piece, "user")
    for name in [PAD, START, END, *map(start_token, SCRIPTS)]:
        tokens[name] = "control"
    while len(tokens) < VOCABULARY:
        tokens[f"<|unused:{len(tokens)}|>"] = "control"
    assert len(tokens) == VOCABULARY
    return tokens, merges


BYTE_LETTERS_IN_ORDER: Final = [BYTE_LETTERS[byte] for byte in range(256)]


def _pair(merge: str) -> tuple[str, str]:
    left, right = merge.split(" ")
    return left, right


def _merge_bytes(whole: str, tokens: dict[str, str], merges: list[tuple[str, str]]) -> None:
    """Add a token of several bytes, with the merges that lead to it."""
    for end in range(2, len(whole) + 1):
        if whole[:end] not in tokens:
            tokens[whole[:end]] = "normal"
            merges.append((whole[: end - 1], whole[end - 1]))
