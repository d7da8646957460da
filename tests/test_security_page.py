"""docs/security.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| .* \| .* \| (.*) \|$", re.MULTILINE)


def test_every_attempt_names_test_files_that_exist() -> None:
    _, _, tried = PAGE.partition("## What was tried")
    rows = [row for row in ROW.findall(tried) if row not in ("held by", "---")]
    assert len(rows) > 20
    for row in rows:
        files = re.findall(r"`(tests/[\w/]+\.py)`", row)
        assert files, row
        assert [file for file in files if not (ROOT / file).is_file()] == []
