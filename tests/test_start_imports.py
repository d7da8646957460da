"""A process imports no library that it does not use, and commands can still draw."""

import subprocess
import sys

import pytest

SHOW = "import sys; print('rich' in sys.modules, 'structlog' in sys.modules)"
DRAW = "import rich.console; rich.console.Console().print('[b]drawn[/b]')"


def run(*lines: str) -> list[str]:
    code = "; ".join(lines)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("command", ["serve", "dev", "worker"])
def test_processes_start_without_rich(command: str) -> None:
    start = f"from gateway.__main__ import COMMANDS, load; load(COMMANDS[{command!r}][0])"
    assert run(start, "import gateway.app", SHOW, DRAW) == ["False", "True", "drawn"]


def test_workers_start_without_rich() -> None:
    assert run("import workers.__main__", SHOW, DRAW) == ["False", "True", "drawn"]


def test_rich_that_was_imported_before_stays() -> None:
    found = "import rich, workers, sys; print(sys.modules['rich'] is rich)"
    assert run(found, DRAW) == ["True", "drawn"]


def test_small_commands_do_not_import_structlog() -> None:
    assert run("from gateway.__main__ import COMMANDS, load; load(COMMANDS['version'][0])", SHOW) == ["False", "False"]
