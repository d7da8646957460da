"""Changes of records of access: one to be made, and those that were made since an epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the record `name`, or without a `record` only an audit entry.

    `version`: of the record that is replaced, 0 for a new one. `digests` name the record from now on. `key`: the value
    that the caller gets, which is not stored. `removed`: without a record, the name of a hash and its fields that go.
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
    """Records changed since an epoch: a name is `key:<id>` or `scope:<name>`; versions as in Redis.

    `reached`: the epoch up to which these are, None if there are no more. `others`: how many were not asked for.
    """

    epoch: int
    records: Mapping[str, dict[str, Any]] = field(repr=False)
    versions: Mapping[str, int]
    reached: int | None = None
    others: int = 0
