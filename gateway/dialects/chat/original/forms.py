"""Patterns in the bytes of a chat stream, by which most of its chunks pass without being parsed."""

import re
from collections.abc import Mapping
from typing import Any, Final

CHOICES: Final = b'"choices"'
# Where the text of a delta begins, and the text itself.
TEXT: Final = re.compile(
    rb'"(?:content|reasoning_content|reasoning|arguments)"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)', re.DOTALL
)
ARGUMENTS: Final = b'"arguments"'
# What a chunk has to be looked into for, odd shapes included. Inside a text, quotation marks follow backslashes.
FACTS: Final = re.compile(
    rb'"usage"\s*:\s*\{|"finish_reason"\s*:\s*[^n\s]|"error"\s*:\s*[^n\s]|"tool_calls"\s*:\s*[^n\s]|\[DONE\]'
    rb'|"message"\s*:\s*\{|"r(?:ole"\s*:\s*"(?!assistant")|e(?:asoning(?:_content|_text)?|fusal)"\s*:\s*[^"n\s])|"choices"\s*:\s*(?:[^\[\s]|\[\s*[^{\s])|"delta"\s*:\s*(?:[^{\s]|\{(?:"role"\s*:\s*"\w*"\s*,\s*)?"content"\s*:\s*[^"n\s])'
)
MODEL: Final = re.compile(rb'"model"\s*:\s*"[^"\\]*(?:\\.[^"\\]*)*"')


def head_of(chunk: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that every chunk of a stream repeats, without the model."""
    return {name: chunk[name] for name in ("id", "object", "created") if name in chunk}
