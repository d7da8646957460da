"""Signing keys of this deployment."""

import re
from dataclasses import dataclass, field
from typing import Self

# Ids are parts of envelopes, between dots, so they contain none.
KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(slots=True)
class Keyring:
    """Signing keys by id, in configured order: the first one signs, all verify.

    `tenant` is part of the signed text. It is empty until `of_tenant` sets it; only then may the keys sign.
    """

    keys: tuple[tuple[str, bytes], ...] = field(repr=False)
    tenant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `id:key,id2:key2`, or one per line. Raises ValueError for another form, without quoting any key."""
        entries = re.split(r"\s*,\s*|\s*[\r\n]\s*", text.strip())
        pairs = [entry.partition(":") for entry in entries]
        if any(not KEY_ID.fullmatch(key_id) or not key for key_id, _, key in pairs):
            raise ValueError("expected a comma-separated list of id:key, an id being 1 to 32 of A-Z a-z 0-9 _ -")
        if len({key_id for key_id, _, _ in pairs}) != len(pairs):
            raise ValueError("the same key id is given twice")
        return cls(tuple((key_id, key.encode()) for key_id, _, key in pairs))

    def of_tenant(self, tenant: str) -> Self:
        """Return the same keys for this tenant."""
        return type(self)(self.keys, tenant)

    def find(self, key_id: str) -> bytes | None:
        return next((key for known, key in self.keys if known == key_id), None)
