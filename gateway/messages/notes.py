"""What a conversion could not carry over as it was: values that end in a header, a log line and a metric."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Note:
    """`field` is a path into the client's request (`tools.3.strict`); `reason` is a sentence for its author."""

    kind: Literal["dropped", "changed", "emulated"]
    field: str
    reason: str
