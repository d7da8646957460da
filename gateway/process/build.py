"""Version of this build, with the commit it was made from.

`make wheel` and the Dockerfile write the commit beside the packages; a clone or an editable install has no such file.
"""

from pathlib import Path
from typing import Final

from gateway import __version__

COMMIT: Final = Path(__file__).parents[1] / "commit.txt"


def read_commit(file: Path = COMMIT) -> str | None:
    """Return the commit of a built wheel or image, None for a clone."""
    try:
        return file.read_text(encoding="ascii").strip() or None
    except OSError:
        return None


def describe_version(file: Path = COMMIT) -> str:
    commit = read_commit(file)
    return f"{__version__} (commit {commit})" if commit else __version__
