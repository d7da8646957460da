"""Every statement of the README has a row in docs/claims.md that names its evidence."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.compatibility import SEPARATOR, read_features

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
# Sections that state something; the others are commands, which test_readme.py runs, figures, and links.
STATING = ("What else it does", "Limits")


def plain(markdown: str) -> str:
    """Return the text on one line, without emphasis, code marks, addresses of links, and sentences that are a link."""
    said = re.sub(r"(?<=\.)\s+\[[^\]]*\]\([^)]*\)\.", "", markdown)
    return re.sub(r"\s+", " ", re.sub(r"[*`]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", said)))


def rows() -> dict[str, str]:
    lines = (ROOT / "docs/claims.md").read_text(encoding="utf-8").splitlines()
    return dict(line.strip("| ").split(" | ") for line in lines if line.startswith("| ") and "---" not in line)


def statements(readme: str) -> list[str]:
    """Return the lead and the sections that state something, cut at full stops, colons and semicolons."""
    lead = readme.partition("# Dragoman\n")[2].partition("\n## ")[0]
    sections = [readme.partition(f"\n## {name}\n")[2].partition("\n## ")[0] for name in STATING]
    parts = [part for text in (lead, *sections) for part in re.split(r"(?<=[.:;])\s+(?=\S)", plain(text).strip())]
    # A part of one or two words is one before a colon, such as `Also`.
    return [part for part in parts if len(part.split()) > 2]


CLAIMS = rows()
del CLAIMS["claim"]


@pytest.fixture(scope="module")
def features() -> set[str]:
    return {f"{feature.section}{SEPARATOR}{feature.name}" for feature in read_features()}


def test_every_statement_of_the_readme_has_a_row() -> None:
    assert len(statements(README)) > 20
    assert [one for one in statements(README) if not any(claim in one for claim in CLAIMS)] == []


def test_statement_without_a_row_is_found() -> None:
    changed = README.replace("## Limits\n", "## Limits\n\nNothing can ever fail here.\n")
    assert [one for one in statements(changed) if not any(claim in one for claim in CLAIMS)] == [
        "Nothing can ever fail here."
    ]


def test_every_row_has_words_of_the_readme() -> None:
    assert [claim for claim in CLAIMS if claim not in plain(README)] == []


@pytest.mark.parametrize("claim", CLAIMS)
def test_row_names_features_tests_and_commands_that_exist(claim: str, features: set[str]) -> None:
    named = re.findall(r"\"([^\"]+)\"|`([^`]+)`", CLAIMS[claim])
    assert named
    for feature, code in named:
        match code.split():
            case []:
                assert feature in features
            case ["make", target]:
                assert f"\n{target}: " in MAKEFILE
            case ["python", "-m", module, *_]:
                assert find_spec(module) is not None
            case _:
                assert (ROOT / code).is_file()
