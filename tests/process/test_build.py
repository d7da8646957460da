"""The version, with the commit that a build wrote beside the packages."""

from pathlib import Path

import pytest

from gateway import __version__
from gateway.process.build import describe_version, read_commit


@pytest.mark.parametrize(
    ("text", "commit", "shown"),
    [
        (None, None, __version__),
        ("\n", None, __version__),
        ("1a2b3c4\n", "1a2b3c4", f"{__version__} (commit 1a2b3c4)"),
    ],
    ids=["a clone has no file", "an image built without the argument has an empty one", "a wheel has the commit"],
)
def test_version_shows_commit_of_a_build(text: str | None, commit: str | None, shown: str, tmp_path: Path) -> None:
    path = tmp_path / "commit.txt"
    if text is not None:
        path.write_text(text)
    assert read_commit(path) == commit
    assert describe_version(path) == shown
