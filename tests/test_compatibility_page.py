"""docs/compatibility.md is written from the marks of the tests."""

from pathlib import Path

import pytest

from tests.support.compatibility import PAGE, SECTIONS, SUMMARY, WrongMark, main, read_features, to_page, to_summary

MARKED = """
@pytest.mark.covers("Tools · parallel calls"{state})
def test_calls_stay_apart():
    pass
"""


def test_the_compatibility_page_is_not_older_than_the_marks() -> None:
    features = read_features()
    assert PAGE.read_text(encoding="utf-8") == to_page(features), "run `make docs`"
    assert SUMMARY.read_text(encoding="utf-8") == to_summary(features), "run `make docs`"
    assert main(["--check"]) == 0


def test_every_section_has_features() -> None:
    assert {feature.section for feature in read_features()} == set(SECTIONS)


def test_a_mark_becomes_a_row_with_its_test(tmp_path: Path) -> None:
    (tmp_path / "test_calls.py").write_text(MARKED.format(state=', "refused"'))
    page = to_page(read_features(tmp_path))
    assert "| parallel calls | refused | [test_calls.py](../tests/test_calls.py) |" in page
    assert "- 1 not offered: refused with a clear error" in page


@pytest.mark.parametrize("mark", ['"Tools"', '"Teas · green"', '"Tools · calls", "perhaps"', '"Tools · a", "works", 3'])
def test_a_wrong_mark_is_an_error_that_names_its_test(tmp_path: Path, mark: str) -> None:
    (tmp_path / "test_calls.py").write_text(f"@pytest.mark.covers({mark})\ndef test_calls():\n    pass\n")
    with pytest.raises(WrongMark, match=r"test_calls\.py::test_calls"):
        read_features(tmp_path)


def test_a_feature_that_is_marked_twice_is_an_error(tmp_path: Path) -> None:
    for name in ("test_a.py", "test_b.py"):
        (tmp_path / name).write_text(MARKED.format(state=""))
    with pytest.raises(WrongMark, match="marked at 2 tests"):
        read_features(tmp_path)
