"""Install a wheel into a clean environment and try it: `python tests/deploy/try_wheel.py dist/dragoman-….whl`.

Only the standard library is used, since no package is installed yet. Prints the size and the seconds until `dragoman
dev` has answered; ends with 1 where something is missing, too large or too slow.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
import zipfile
from pathlib import Path

MAX_BYTES = 2 * 1024 * 1024
MAX_SECONDS = 30.0
NEEDED = ("gateway/py.typed", "gateway/redis/scripts/claim.lua", "gateway/commit.txt", "workers/__main__.py")
UNWANTED = ("tests/", "bench/", "docs/", "deploy/")


def inspect(wheel: Path) -> list[str]:
    """Return what is wrong with the contents."""
    names = zipfile.ZipFile(wheel).namelist()
    found = [f"{name} is missing" for name in NEEDED if name not in names]
    found += [f"{name} does not belong in it" for name in names if name.startswith(UNWANTED)]
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size:,} bytes, {len(names)} files")  # noqa: T201
    return found + ([f"it is larger than {MAX_BYTES:,} bytes"] if size > MAX_BYTES else [])


def commit_of(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read("gateway/commit.txt").decode().strip()


def install(wheel: Path, folder: Path) -> Path:
    """Return the folder of the installed commands."""
    venv.create(folder, with_pip=True)
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    subprocess.run([binaries / "python", "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    return binaries


def seconds_until_answer(binaries: Path, folder: Path) -> float:
    """Start `dragoman dev`, ask it once, stop it, and return the seconds from start to answer."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
    environment |= {"GATEWAY_ADMIN_PORT": "0", "GATEWAY_WORKER_ADMIN_PORT": "0"}
    begun = time.monotonic()
    process = subprocess.Popen([binaries / "dragoman", "dev", "--port", str(port)], env=environment, cwd=folder)
    try:
        while not answers(port):
            if process.poll() is not None or time.monotonic() - begun > 2 * MAX_SECONDS:
                return float("inf")
            time.sleep(0.05)
        return time.monotonic() - begun
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    body = {"model": "big", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/messages", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)["type"] == "message"
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def main() -> int:
    wheel = Path(sys.argv[1])
    problems = inspect(wheel)
    commit = "" if problems else commit_of(wheel)
    with tempfile.TemporaryDirectory(prefix="dragoman-") as folder:
        binaries = install(wheel, Path(folder) / "venv")
        version = subprocess.run(
            [binaries / "dragoman", "--version"], capture_output=True, text=True, check=True
        ).stdout
        seconds = seconds_until_answer(binaries, Path(folder))
    if commit not in version:
        problems.append(f"`dragoman --version` does not show the commit {commit}")
    print(f"{version.strip()} on Python {sys.version.split()[0]}: `dragoman dev` answered after {seconds:.1f} s")  # noqa: T201
    problems += [f"it took longer than {MAX_SECONDS:.0f} s"] if seconds > MAX_SECONDS else []
    for problem in problems:
        print(f"wheel: {problem}", file=sys.stderr)  # noqa: T201
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
