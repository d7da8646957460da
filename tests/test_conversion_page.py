"""docs/conversion.md is what the tests make it, and what would make it untrue is noticed."""

from pathlib import Path

import pytest

from tests.support.conversion_page import PAGE, Case, Stale, Suite, main, read_tests, to_page

SOURCE = """
CASES = [pytest.param(1, id="O1 R2 one"), pytest.param(2, id=f"O1 {2} of them"), pytest.param(3, id="three")]

@pytest.mark.parametrize("number", CASES)
def test_r21_numbers_are_read(number): ...

@pytest.mark.parametrize("number", [pytest.param(1, id="O2 a|b <c>")])
def test_inline(number): ...
"""


@pytest.fixture
def some(tmp_path: Path) -> Suite:
    (tmp_path / "test_some.py").write_text(SOURCE)
    return read_tests(tmp_path, ("",))


def test_the_page_is_not_older_than_the_tests() -> None:
    assert PAGE.read_text(encoding="utf-8") == to_page(read_tests()), "run `make docs`"
    assert main(["--check"]) == 0


def test_rules_are_read_from_tests_and_from_the_tables_they_use(some: Suite) -> None:
    words = {rule: [case.words for case in cases] for rule, cases in some.rules.items()}
    assert words == {"O1": ["one", "… of them"], "R2": ["one"], "R21": ["numbers are read"], "O2": ["a|b <c>"]}
    assert some.names.keys() == {"some.r21_numbers_are_read", "some.inline"}


def test_a_rule_without_a_line_is_noticed() -> None:
    tests = read_tests()
    tests.add(Case.of("test_new", "test_some.py", "O99 something new"))
    with pytest.raises(Stale, match="no line tells of O99, something new"):
        to_page(tests)


def test_a_line_without_its_test_is_noticed() -> None:
    tests = read_tests()
    del tests.rules["O19"]
    with pytest.raises(Stale, match="there is no test O19"):
        to_page(tests)
