"""The two C programs of the bench, compiled on first use and whenever their source is newer."""

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = HERE / "src"
BINARIES = HERE / "bin"


class CompilerError(Exception):
    """There is no C compiler, or it does not take the source."""


def program(name: str) -> Path:
    """The path of the compiled `name`, which is `upstream` or `load`. Raises CompilerError."""
    source, binary = SOURCES / f"{name}.c", BINARIES / name
    if binary.exists() and binary.stat().st_mtime >= source.stat().st_mtime:
        return binary
    compiler = shutil.which("cc")
    if compiler is None:
        raise CompilerError(
            "the bench needs a C compiler called cc for its load generator (Debian: apt-get install gcc)"
        )
    BINARIES.mkdir(exist_ok=True)
    done = subprocess.run(
        [compiler, "-O2", "-Wall", "-o", str(binary), str(source)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CompilerError(f"{compiler} does not compile {source.name}:\n{done.stderr}")
    return binary
