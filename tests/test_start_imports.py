"""A process imports no library that it does not use, and commands can still draw."""

import subprocess
import sys

import pytest

DRAWS = "import rich.console; rich.console.Console().print('[b]drawn[/b]')"


@pytest.mark.parametrize("module", ["gateway.app", "workers.__main__"])
def test_processes_start_without_rich(module: str) -> None:
    code = f"import sys, {module}; print('rich' in sys.modules, 'structlog' in sys.modules); {DRAWS}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True", "drawn"]


def test_rich_that_was_imported_before_stays() -> None:
    code = f"import rich, gateway, sys; print(sys.modules['rich'] is rich); {DRAWS}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "drawn"]
