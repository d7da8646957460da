"""Files with secrets that every user of the machine can read."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.settings.secrets import secrets_of
from gateway.settings.settings import Settings

# A shorter text may occur in a file with another meaning.
MIN_LENGTH: Final = 8


def exposed_files(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield problem and remedy for each such file: the configuration with a secret in it, and the key for TLS."""
    file = settings.config.file.path
    if file and is_readable_by_all(file) and has_secret(file, settings):
        yield f"{file} holds secrets, and everyone on this machine can read it", "chmod o-r, or write ${NAME} there"
    key = settings.tls_key
    if key is not None and is_readable_by_all(key):
        yield f"{key} (GATEWAY_TLS_KEY) can be read by everyone on this machine", "chmod o-r"


def is_readable_by_all(path: str) -> bool:
    try:
        return bool(Path(path).stat().st_mode & stat.S_IROTH)
    except OSError:  # it has been read before, or the start fails for it
        return False


def has_secret(path: str, settings: Settings) -> bool:
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return any(len(secret) >= MIN_LENGTH and secret in text for secret in secrets_of(settings))
