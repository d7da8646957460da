"""Conversion warnings: values that could not be carried over unchanged; shown in a header, a log line and a metric."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Note:
    """`field` is a path into the client's request (`tools.3.strict`); `reason` is a sentence for its author."""

    kind: Literal["dropped", "changed", "emulated"]
    field: str
    reason: str

    @property
    def text(self) -> str:
        """Return the form for headers and log lines."""
        return f"{self.kind}:{self.field}"


def field_of(note: str) -> str:
    """The field of the request that the text of a note is about, without the path below it."""
    return note.partition(":")[2].partition(".")[0]
