"""`make servers`: install, start and test every server, one after another, and print a table of the results."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.servers import claude_code
from tests.servers.environment import InstallError
from tests.servers.launch import ROOT
from tests.servers.registry import SERVERS, Server

# Read by conftest.py: the servers with cases to collect, by commas.
CHOICE = "DRAGOMAN_MODEL_SERVERS"
TEST_SECONDS = 1800.0


@dataclass(slots=True)
class Outcome:
    server: Server
    counts: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def has_failed(self) -> bool:
        return bool(self.failures) or not self.counts.get("passed")


def run_all(names: list[str]) -> int:
    """Return the exit status: 0 if every server was installed and started and no case failed."""
    say(claude_code.missing() or f"{claude_code.PACKAGE}: {claude_code.install()}")
    outcomes = [run_one(SERVERS[name]) for name in names]
    say(f"\n{'server':18}{'passed':>8}{'failed':>8}{'expected':>10}{'skipped':>9}{'seconds':>9}")
    for outcome in outcomes:
        numbers = [outcome.counts.get(kind, 0) for kind in ("passed", "failed", "expected", "skipped")]
        passed, failed, expected, skipped = numbers
        say(f"{outcome.server.name:18}{passed:8}{failed:8}{expected:10}{skipped:9}{outcome.seconds:9.0f}")
    say("expected: known failures, listed with their reasons in tests/servers/expected_failures.py")
    for outcome in outcomes:
        for failure in outcome.failures:
            say(f"FAILED  {outcome.server.name}: {failure}")
    return int(any(outcome.has_failed for outcome in outcomes))


def run_one(server: Server) -> Outcome:
    outcome = Outcome(server)
    say(f"{server.name}: {server.title}")
    if server.missing is not None:
        outcome.failures.append(server.missing)
        return outcome
    if server.environment is not None:
        try:
            seconds = server.environment.install()
        except InstallError as error:
            outcome.failures.append(f"not installed: {error}")
            return outcome
        installed = f"installed in {seconds:.0f} s" if seconds else "was installed"
        say(f"  {installed}, {server.environment.size() / 1e6:,.0f} MB in {server.environment.folder}")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "tests/servers", f"--junitxml={report}"],
            cwd=ROOT,
            env={**os.environ, CHOICE: server.name},
            timeout=TEST_SECONDS,
            check=False,
        )
        if report.exists():
            read_report(report, outcome)
    outcome.seconds = time.monotonic() - begun
    if done.returncode != 0 and not outcome.failures:
        outcome.failures.append(f"pytest ended with status {done.returncode}")
    return outcome


def read_report(path: Path, outcome: Outcome) -> None:
    for case in ET.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            kind = "failed"
            outcome.failures.append(case.get("name", ""))
        elif (skipped := case.find("skipped")) is not None:
            kind = "expected" if skipped.get("type") == "pytest.xfail" else "skipped"
        else:
            kind = "passed"
        outcome.counts[kind] = outcome.counts.get(kind, 0) + 1


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
