"""`python -m tests.cluster`: the whole deployment on this machine, without containers: haproxy, two front ends, two
workers, Redis with its append-only file, Prometheus, and the built-in simulator as upstream.

The official SDK drives JSON, streams and batches through the balancer while every process is restarted in turn, some
are killed, and the previous version takes over and back. Prints a report; ends with 0 only when no live request failed
(one that a kill -9 broke is asked again, and counted apart), and no batch item was lost or doubled.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial

import anthropic

from tests.cluster.cluster import Failed
from tests.cluster.drills import alerts, faults, previous_reference, run, upgrade
from tests.cluster.newcomer import newcomer
from tests.cluster.programs import MissingProgram, find_program
from tests.cluster.throughput import throughput

Part = Callable[[], Awaitable[list[str]]]
PARTS = ("faults", "upgrade", "alerts", "throughput", "newcomer")
DEFAULT = PARTS[:-1]  # the last one downloads what it installs


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--short", action="store_true", help="only the faults, with little time between them")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part")
    parser.add_argument("--previous", help="git reference of the version to upgrade from (the last commit)")
    arguments = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("GATEWAY_", "OPENROUTER_", "PROMETHEUS_"))]:
        del os.environ[name]
    try:
        sys.exit(asyncio.run(run_all(arguments)))
    except MissingProgram as error:
        sys.exit(f"{error}; the cluster needs haproxy, redis-server and prometheus")
    except asyncio.CancelledError:
        sys.exit("stopped; every process has been ended")


async def run_all(arguments: argparse.Namespace) -> int:
    task = asyncio.current_task()
    assert task is not None
    # A SIGTERM leaves as a Ctrl-C does: through all that has to be cleared away.
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    say(f"{machine()}\n")
    failures: list[str] = []
    for name, what, part in parts(arguments):
        say(f"{name}: {what}")
        begun = time.monotonic()
        try:
            found = await part()
        except* (Failed, TimeoutError, RuntimeError) as group:
            found = [f"{name}: {type(error).__name__}: {error}" for error in group.exceptions]
        say(f"  {len(found)} findings in {time.monotonic() - begun:.0f} s\n")
        failures += found
    for failure in failures:
        say(f"FAILED  {failure}")
    say("FAILED" if failures else "no live request failed, no item was lost or doubled, every query was answered")
    return 1 if failures else 0


def parts(arguments: argparse.Namespace) -> list[tuple[str, str, Part]]:
    chosen = arguments.only or (["faults"] if arguments.short else DEFAULT)
    found: dict[str, tuple[str, Part]] = {
        "faults": ("every process restarted, some killed, under load", partial(faults, say, short=arguments.short)),
        "alerts": ("the shipped rules fire when they should", partial(alerts, say)),
        "throughput": ("what another front end and other workers bring", partial(throughput, say)),
        "newcomer": ("clone, make run, the first answer, the first batch result", partial(newcomer, say)),
    }
    if "upgrade" in chosen:
        reference = arguments.previous or previous_reference()
        what = f"from {run('git', 'rev-parse', '--short', reference)} to this tree and back, on one Redis, under load"
        found["upgrade"] = (what, partial(upgrade, say, previous=reference))
    return [(name, *found[name]) for name in PARTS if name in chosen]


def machine() -> str:
    versions = ", ".join(first_line(*command) for command in VERSIONS)
    return (
        f"Dragoman on one machine, {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {os.cpu_count()} cores,"
        f" Python {sys.version.split()[0]}, Anthropic SDK {anthropic.__version__}\n{versions}"
    )


VERSIONS = (
    ("haproxy", "haproxy", "-v"),
    ("redis-server", "redis-server", "--version"),
    ("prometheus", "prometheus", "--version"),
)


def first_line(name: str, package: str, option: str) -> str:
    done = subprocess.run([find_program(name, package), option], capture_output=True, text=True, check=False)
    words = (done.stdout or done.stderr).splitlines()[0].split()
    version = next(word for word in words if word.removeprefix("v=")[0].isdigit())
    return f"{name} {version.removeprefix('v=')}"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
