"""Arguments that begin again before their end, as in `{"a": "x"{"a": "x", "b": 1}`: SGLang sends them (issue 23071).

A second beginning is recognised where JSON has no brace: behind a value. If it repeats what has been passed on, the
call goes on from there. Anything else stays as it is, and is no JSON in the end.
"""

from gateway.dialects.chat.response.calls.near_json import NearJson


class Restart:
    """A second beginning, compared with the arguments `shown` so far. `reader` reads it."""

    __slots__ = ("_is_other", "_matched", "_raw", "_shown", "reader")

    def __init__(self, shown: str) -> None:
        self._shown = shown.rstrip()
        self._matched = 0  # characters
        self._raw: list[str] = []
        self._is_other = False
        self.reader = NearJson()
        self.reader.is_changed = True

    @property
    def is_caught_up(self) -> bool:
        """Whether all that was shown has come again."""
        return self._matched == len(self._shown) and not self._is_other

    @property
    def rest(self) -> str:
        """Return the text of a second beginning that does not repeat the first."""
        return "".join(self._raw) if self._is_other else ""

    def add(self, text: str) -> str:
        """Return what goes beyond the arguments that were shown."""
        self._raw.append(text)
        if self._is_other:
            return ""
        piece = self.reader.feed(text)
        known = piece[: len(self._shown) - self._matched]
        is_same = self._shown.startswith(known, self._matched)
        self._matched += len(known)
        self._is_other = not is_same or (self.reader.again != "" and self._matched < len(self._shown))
        return "" if self._is_other else piece[len(known) :]
