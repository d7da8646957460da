"""Tracking of fenced code blocks of Markdown in a text that arrives in pieces."""

import re

# Markers of a quotation may stand in front of it. Backticks in the line of an opening fence of backticks make it none.
FENCE = re.compile(r"[ \t>]*(`{3,}(?=[^`]*$)|~{3,})(.*)", re.DOTALL)
# Longer than the beginning of a fence's line.
MAX_LINE = 200


class CodeFences:
    """`is_inside` holds for text that would follow."""

    __slots__ = ("_fence", "_line")

    def __init__(self) -> None:
        self._fence = ""  # that is open
        self._line = ""  # the beginning of the last line

    @property
    def is_inside(self) -> bool:
        return self._fence != "" or FENCE.fullmatch(self._line) is not None

    def add(self, text: str) -> None:
        if "\n" not in text:
            if len(self._line) < MAX_LINE:
                self._line += text[:MAX_LINE]
            return
        head, *lines = text.split("\n")
        self._line = (self._line + head)[:MAX_LINE]
        for line in lines:
            self._end_line()
            self._line = line[:MAX_LINE]

    def _end_line(self) -> None:
        found = FENCE.fullmatch(self._line)
        if found is None:
            return
        marks = found[1]
        if not self._fence:
            self._fence = marks
        elif marks.startswith(self._fence) and not found[2].strip():
            self._fence = ""
