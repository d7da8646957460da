"""Text of client keys: `sk-dg-<public id>-<secret><checksum>`, all base62.

With the checksum, mistyped keys are refused without asking Redis, and secret scanners recognise leaked ones. Only the
digest of a key is stored; its public id and its hint may be shown and logged.
"""

import re
import secrets
import zlib
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX: Final = "sk-dg-"
# 62^10 ids: collisions within a deployment are negligible.
ID_LENGTH: Final = 10
SECRET_LENGTH: Final = 43  # 256 bits
# 32 bits of CRC in base62, as in GitHub's tokens: secret scanners check it to avoid false positives.
CHECKSUM_LENGTH: Final = 6
KEY_ID: Final = re.compile(r"key_[0-9A-Za-z]{10}")
FORM: Final = re.compile(r"sk-dg-([0-9A-Za-z]{10})-[0-9A-Za-z]{43}([0-9A-Za-z]{6})")


def new_key() -> str:
    """Make a random key. `to_key_id` returns its public id."""
    return with_checksum(f"{PREFIX}{_random(ID_LENGTH)}-{_random(SECRET_LENGTH)}")


def with_checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return text + digits


def to_key_id(key: str) -> str | None:
    """Return `key_<public id>`; None for text in another form or with a wrong checksum."""
    form = FORM.fullmatch(key)
    if form is None or with_checksum(key[:-CHECKSUM_LENGTH]) != key:
        return None
    return f"key_{form[1]}"


def is_key_id(text: str) -> bool:
    """Return True for the id of a generated key; ids of configured keys have another form."""
    return KEY_ID.fullmatch(text) is not None


def to_hint(key: str) -> str:
    """Return the parts of a key that may be shown: its beginning and its end."""
    return f"{key[:10]}…{key[-3:]}"


def _random(length: int) -> str:
    return "".join([secrets.choice(ALPHABET) for _ in range(length)])
