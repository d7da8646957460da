"""Files of batches sent from this machine, so that `batch status` can name them. Stored in the user's state directory.

They are only a convenience: failures to read or write are ignored.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson

from gateway.cli.console import CommandError

# Lines; beyond twice as many the older half is dropped.
KEPT: Final = 1000


def remember_file(batch_id: str, path: Path) -> None:
    with suppress(OSError, TypeError):  # TypeError: a name that is not UTF-8
        index = index_path()
        index.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        line = orjson.dumps({"batch": batch_id, "file": str(path.resolve())}) + b"\n"
        lines = index.read_bytes().splitlines(keepends=True) if index.exists() else []
        if len(lines) >= 2 * KEPT:
            index.write_bytes(b"".join(lines[-KEPT:]))
        with index.open("ab") as file:
            file.write(line)


def files_of_batches() -> dict[str, str]:
    """Return the files by batch."""
    with suppress(OSError, orjson.JSONDecodeError, KeyError, TypeError):
        found = [orjson.loads(line) for line in index_path().read_bytes().splitlines()]
        return {entry["batch"]: entry["file"] for entry in found}
    return {}


def batches_of(given: str, files: Mapping[str, str]) -> list[str]:
    """Return the batches that were sent from a file; anything else is taken as the id of a batch.

    Raises CommandError for a file that no batch was sent from.
    """
    found = [batch for batch, file in files.items() if file == str(Path(given).resolve())]
    if not found and Path(given).is_file():
        raise CommandError(f"no batch was sent from {given} here", "`dragoman batch status` lists the key's batches")
    return found or [given]


def batch_of(given: str, files: Mapping[str, str]) -> str:
    """Return the only batch that was sent from a file, or the id that was given."""
    found = batches_of(given, files)
    if len(found) > 1:
        raise CommandError(f"{len(found)} batches were sent from {given}", f"choose one: {', '.join(found)}")
    return found[0]


def index_path() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "dragoman" / "sent-batches.jsonl"
