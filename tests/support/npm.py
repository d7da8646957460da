"""Packages from npm, installed into the cache folder of the servers on first use."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers.environment import cache_folder, locked

INSTALL_SECONDS = 120.0


def installed(package: str, name: str) -> Path:
    """Return the folder in which the package is installed; skip the test if it cannot be."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    folder = cache_folder().parent / name
    stamp = folder / "installed"
    with locked(folder.with_suffix(".lock")):
        if not stamp.exists() or stamp.read_text() != package:
            folder.mkdir(parents=True, exist_ok=True)
            command = ("npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder), package)
            try:
                subprocess.run(command, capture_output=True, timeout=INSTALL_SECONDS, check=True)
            except subprocess.SubprocessError:
                pytest.skip(f"{package} cannot be installed from npm")
            stamp.write_text(package)
    return folder
