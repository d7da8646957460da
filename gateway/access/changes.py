"""Changes of access records: one to write, and those that were written since an epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the record `name`; only an audit entry if `record` is None.

    `version`: version of the replaced record, 0 for a new one. `digests`: new digests that lead to the record. `key`:
    the key's value for the caller, which is not stored. `removed`: a Redis hash and the fields to delete from it.
    """

    name: str
    action: str
    details: Mapping[str, Any] = field(repr=False)
    record: dict[str, Any] | None = field(default=None, repr=False)
    version: int | None = None
    digests: Sequence[str] = ()
    key: str = field(default="", repr=False)
    removed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """Records changed since an epoch, by name: `key:<id>` or `scope:<name>`.

    `reached`: epoch of the last change on this page, None if there are no further pages. `others`: number of changed
    records that the caller did not ask for.
    """

    epoch: int
    records: Mapping[str, dict[str, Any]] = field(repr=False)
    versions: Mapping[str, int]
    reached: int | None = None
    others: int = 0
