"""The Dockerfile carried out without a container engine: its steps in a clean root, its process in a read-only one.

The base image is stood in for by Debian's own Python in a root that debootstrap makes; every COPY, RUN, ENV, USER and
WORKDIR of the file is done as it says. What it makes is then started as its user, with nothing writable but /tmp and no
capabilities, for both roles, and asked by its own HEALTHCHECK. Needs root, debootstrap, and package indexes.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.programs import ROOT, children_of
from tests.support.ports import free_port

SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
START_SECONDS = 20.0


@dataclass(slots=True)
class Stage:
    root: Path
    environment: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root"}
    )
    folder: str = "/"
    user: str = "0"
    healthcheck: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def run(self, script: str) -> None:
        subprocess.run(
            ["chroot", str(self.root), "/bin/sh", "-ec", f"cd {shlex.quote(self.folder)}; {script}"],
            env={**pip_variables(), **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )


def build(dockerfile: Path, base: Path, work: Path) -> Stage:
    """The last stage. Raises CalledProcessError for a step that fails, ValueError for one that is not known."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for name, text in instructions(dockerfile.read_text()):
        if name == "FROM":
            _, _, alias = text.partition(" AS ")
            stage = Stage(work / (alias or "final"))
            subprocess.run(["cp", "-a", str(base), str(stage.root)], check=True)
            stages[alias or "final"] = stage
            continue
        assert stage is not None
        carry_out(stage, name, text, stages)
    assert stage is not None
    return stage


def carry_out(stage: Stage, name: str, text: str, stages: Mapping[str, Stage]) -> None:
    match name:
        case "WORKDIR":
            stage.folder = text
            (stage.root / text.lstrip("/")).mkdir(parents=True, exist_ok=True)
        case "RUN":
            stage.run(text)
        case "COPY":
            copy(stage, text.split(), stages)
        case "ENV":
            pairs = [pair.partition("=") for pair in shlex.split(text)]
            stage.environment |= {key: value.replace("$PATH", stage.environment["PATH"]) for key, _, value in pairs}
        case "ARG":
            name, _, value = text.partition("=")
            stage.environment.setdefault(name, value)
        case "USER":
            stage.user = text
        case "HEALTHCHECK":
            stage.healthcheck = json.loads(text.partition("CMD ")[2])
        case "ENTRYPOINT":
            stage.entrypoint = json.loads(text)
        case "CMD":
            stage.command = json.loads(text)
        case "EXPOSE":
            pass
        case _:
            raise ValueError(f"{name} is not known here")


def copy(stage: Stage, words: Sequence[str], stages: Mapping[str, Stage]) -> None:
    option = re.match(r"--from=(\w+)", words[0])
    source = stages[option[1]].root if option else ROOT
    *names, target = words[1:] if option else words
    to = stage.root / target.lstrip("/") if target.startswith("/") else stage.root / stage.folder.lstrip("/") / target
    for name in names:
        origin = source / name.lstrip("/")
        if origin.is_dir():
            shutil.copytree(origin, to, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, to / origin.name if to.is_dir() else to)


def instructions(text: str) -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in joined.splitlines() if line.strip()]


def make_base(folder: Path) -> Path:
    """A clean root with what the base image has: Python, as `python`."""
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (folder / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    for name in ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", *filter(None, [os.environ.get("PIP_CERT")])):
        if Path(name).is_file():
            (folder / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, folder / name.lstrip("/"))
    personal = Path.home() / ".config/pip/pip.conf"
    if personal.is_file():
        (folder / "root/.config/pip").mkdir(parents=True)
        shutil.copy(personal, folder / "root/.config/pip/pip.conf")
    return folder


def pip_variables() -> dict[str, str]:
    """Return the variables by which this machine's pip finds its index, without folders of this machine."""
    passed = ("PIP_", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "SSL_CERT_FILE")
    return {n: v for n, v in os.environ.items() if n.startswith(passed) and n != "PIP_FIND_LINKS"}


# $1 is the root, $2 the user; then the command. Only /tmp is writable, and no privilege can be gained.
CONTAIN = """
mount --make-rprivate /
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/tmp"
for device in null urandom; do touch "$1/dev/$device"; mount --bind "/dev/$device" "$1/dev/$device"; done
mount -o remount,bind,ro "$1"
root=$1 user=$2; shift 2
exec setpriv --no-new-privs chroot --userspec="$user:$user" "$root" "$@"
"""


@contextmanager
def running(image: Stage, arguments: Sequence[str], variables: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A container's process, as its first; yields its environment, and ends it by SIGTERM. Raises RuntimeError."""
    environment = {**image.environment, **variables}
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", CONTAIN, "contain"]
    process = subprocess.Popen(
        [*command, str(image.root), image.user, *image.entrypoint, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield environment
    finally:
        for child in children_of(process.pid):
            os.kill(int(child), signal.SIGTERM)
        try:
            status = process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
    if status != 0:
        raise RuntimeError(f"{shlex.join(arguments)} ended with {status} when told to stop")


def healthy(image: Stage, environment: Mapping[str, str]) -> float:
    """Seconds until the image's own health check says so. Raises RuntimeError."""
    begun = time.monotonic()
    command = ["chroot", f"--userspec={image.user}:{image.user}", str(image.root), *image.healthcheck]
    while subprocess.run(command, env=environment, check=False, stderr=subprocess.DEVNULL).returncode:
        if time.monotonic() - begun > START_SECONDS:
            raise RuntimeError("it is not healthy")
        time.sleep(0.1)
    return time.monotonic() - begun


def check_image(work: Path) -> str:
    """Build it, run both roles, and say what was seen."""
    base = make_base(work / "base")
    image = build(ROOT / "Dockerfile", base, work)
    said = [f"{size_of(image.root) - size_of(base)} MB on top of the base"]
    port, admin = str(free_port()), str(free_port())
    variables = {
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_ADMIN_HOST": "127.0.0.1",
        "GATEWAY_PORT": port,
        "GATEWAY_ADMIN_PORT": admin,
        "GATEWAY_WORKER_ADMIN_PORT": admin,
        "HEALTH_PORT": admin,
        "OPENROUTER_API_KEY": "none",
        "GATEWAY_KEYS": "team:key",
        "GATEWAY_SECRET": "k1:secret",
        "GATEWAY_REDIS_URL": "embedded",
        "XDG_STATE_HOME": "/tmp/state",
    }
    for arguments in (image.command, ["worker"]):
        with running(image, arguments, variables) as environment:
            said.append(
                f"{shlex.join(arguments)} healthy after {healthy(image, environment):.1f} s as user {image.user}"
            )
    return "; ".join(said)


def size_of(folder: Path) -> int:
    """Return megabytes."""
    done = subprocess.run(["du", "-sxm", str(folder)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])
