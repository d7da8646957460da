"""JSON that several requests hold, with what was found in it."""


class Written:
    """`json`: as requests hold it. `count` remembers each text that it is asked for, so ask for constants only.

    `beginning`: JSON with which this one begins, whose end lies in no text that is searched.
    """

    __slots__ = ("_counts", "json")

    def __init__(self, json: bytes, beginning: "Written | None" = None) -> None:
        self.json = json
        self._counts: dict[bytes, int] = {}
        if beginning is not None:
            place = len(beginning.json)
            self._counts = {text: known + json.count(text, place) for text, known in beginning._counts.items()}

    def count(self, text: bytes) -> int:
        """Return how often the JSON holds `text`."""
        found = self._counts.get(text)
        if found is None:
            found = self._counts[text] = self.json.count(text)
        return found
