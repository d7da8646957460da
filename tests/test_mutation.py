"""The planter of faults: what it changes in Python and in Lua, and that a fault is noticed or survives."""

from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.mutation import (
    Mutant,
    MutatedRoom,
    is_noticed,
    lua_mutants,
    mutants_of,
    python_mutants,
    select_tests,
)

PYTHON = {
    "a comparison": ("x = 1\ndef f(a): go(a < 1)", {"(a) <= (1)"}),
    "both of a condition": ("def f(a, b): go(a and b)", {"(a) or (b)", "(a)"}),
    "the test of an if": ("def f(a):\n    if a: go()", {"not (a)"}),
    "a negation": ("def f(a): go(not a)", {"(a)"}),
    "a call for its effect": ("def f(a): a.go()", {"pass"}),
    "what is returned": ("def f(a): return a", {"return None"}),
    "arithmetic behind wide characters": ("def f(a): go('é😀', a + 1)", {"(a) - (1)"}),
}


@pytest.mark.parametrize(("source", "expected"), PYTHON.values(), ids=PYTHON)
def test_python_is_changed_in_one_place(source: str, expected: set[str]) -> None:
    mutants = list(python_mutants(Path("a.py"), source))
    assert expected <= {mutant.new for mutant in mutants}
    assert all(mutant.planted(source) != source for mutant in mutants)


def test_decorators_and_constants_of_python_are_left_alone() -> None:
    source = dedent(
        """
        LIMIT = 10
        @dataclass(frozen=True)
        class A: ...
        """
    )
    assert list(python_mutants(Path("a.py"), source)) == []


def test_lua_is_changed_in_code_but_not_in_comments_strings_and_constants() -> None:
    source = dedent(
        """
        local LIMIT = 10 -- if a == b
        if a == 'x == y' then
          redis.call('DEL', KEYS[1])
        end
        """
    )
    mutants = [(mutant.old, mutant.new) for mutant in lua_mutants(Path("a.lua"), source)]
    assert mutants == [("==", "~="), ("  redis.call('DEL', KEYS[1])", "")]


def test_a_fault_is_noticed_by_a_test_that_fails_and_else_survives(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "limits.py").write_text("def is_large(size): return size > 10\n")
    (tmp_path / "tests/test_limits.py").write_text(
        "from limits import is_large\ndef test_size():\n    assert is_large(20) and not is_large(1)\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    room = MutatedRoom(("*.py",), ("tests",))
    noticed = {mutant.new: is_noticed(mutant, room, tmp_path, 100) for mutant in mutants_of(room, tmp_path)}
    assert noticed == {"(size) >= (10)": False, "return None": True, "11": False}
    assert "size > 10" in (tmp_path / "limits.py").read_text()


def test_the_tests_named_like_the_module_run_first(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    for name in ("test_claims.py", "test_other.py"):
        (tmp_path / "tests" / name).touch()
    mutant = Mutant(Path("gateway/redis/scripts/claim.lua"), 1, 0, "", "")
    assert select_tests(mutant, MutatedRoom((), ("tests",)), tmp_path) == [["tests/test_claims.py"], ["tests"]]
