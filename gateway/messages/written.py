"""JSON that several requests hold, with what was found in it."""


class Written:
    """`json`: as requests hold it. `count` remembers each text that it is asked for, so ask for constants only."""

    __slots__ = ("_counts", "json")

    def __init__(self, json: bytes) -> None:
        self.json = json
        self._counts: dict[bytes, int] = {}

    def count(self, text: bytes) -> int:
        """Return how often the JSON holds `text`."""
        found = self._counts.get(text)
        if found is None:
            found = self._counts[text] = self.json.count(text)
        return found
