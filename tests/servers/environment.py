"""Virtual environments of the servers' own, kept in `$XDG_CACHE_HOME/dragoman/servers/NAME`.

Their packages are large and conflict with one another and with the project's, so they never enter its `.venv`. An
environment is built once and again when its requirements change.
"""

import fcntl
import os
import shutil
import subprocess
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

INSTALL_SECONDS = 1800.0
STAMP = "installed"


class InstallError(Exception):
    """A server that cannot be installed; the message has the end of the installer's output."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Packages of a server's interpreter.

    `lender` is another environment that shares its packages, for servers on the same torch. `finish` adjusts the
    environment once its packages are there.
    """

    name: str
    requirements: tuple[str, ...]
    dependencies: bool = True
    lender: "Environment | None" = None
    finish: Callable[["Environment"], None] | None = None

    @property
    def folder(self) -> Path:
        return cache_folder() / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        return next((self.folder / "lib").glob("python*/site-packages"))

    @property
    def is_installed(self) -> bool:
        stamp = self.folder / STAMP
        return stamp.exists() and stamp.read_text() == self._mark

    @property
    def _mark(self) -> str:
        return " ".join(self.requirements)

    def install(self) -> float:
        """Build the environment unless it is there; return the seconds it took."""
        if self.lender is not None:
            self.lender.install()
        started = time.monotonic()
        with locked(self.folder.with_suffix(".lock")):
            if self.is_installed:
                return 0.0
            shutil.rmtree(self.folder, ignore_errors=True)
            venv.create(self.folder, with_pip=True)
            if self.lender is not None:
                (self.packages / "lender.pth").write_text(f"{self.lender.packages}\n")
            options = [] if self.dependencies else ["--no-deps"]
            self.run("-m", "pip", "install", "--quiet", *options, *self.requirements)
            if self.finish is not None:
                self.finish(self)
            (self.folder / STAMP).write_text(self._mark)
        return time.monotonic() - started

    def run(self, *arguments: str | Path) -> None:
        """Run the environment's interpreter. Raises InstallError."""
        run(self.python, *arguments)

    def size(self) -> int:
        """Return the bytes on disk."""
        return sum(path.lstat().st_size for path in self.folder.rglob("*") if not path.is_dir())


def cache_folder() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "dragoman" / "servers"


def run(*command: str | Path) -> None:
    """Run an installer quietly. Raises InstallError."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode != 0:
        raise InstallError(f"{' '.join(map(str, command))}:\n{(done.stderr or done.stdout)[-2000:]}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time build an environment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
