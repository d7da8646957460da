"""One interleaved run: every target runs a case, then the next case, round after round.

So other load on the machine affects all targets alike, and ratios are stable even where figures are not. The order of
targets changes with each round, so that no target always follows the same one.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from bench.cases import CASES, Case
from bench.load import Shape, end_load
from bench.measure import machine, memory_mib, raise_file_limit
from bench.results import Comparison, Run, Startup
from bench.targets import Recipe, Stage, StartError, Target, running, running_stage

STARTS = 3  # of each target, for the time to its first answer
SLOW_START = 5.0  # seconds; one that takes longer is started once
SETTLE = 0.3  # seconds for a target to drop the streams of its last case
STREAMS_FOR_MEMORY = 500
# Targets that only serve to be subtracted from another.
ONLY_IN = {"direct": ("one",), "quiet": ("small",), "unstreamed": ("small", "code")}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    cases: Sequence[str]
    rounds: int
    seconds: float


def compare(recipes: Sequence[Recipe], options: Options, say: Say) -> Comparison:
    """Measure the targets. One that does not start is left out. Raises CompilerError."""
    raise_file_limit()
    comparison = Comparison(machine(), asdict(options))
    with ExitStack() as stack:
        stage = stack.enter_context(running_stage())
        targets = []
        for recipe in recipes:
            try:
                target = _start(recipe, stage, stack, comparison, say)
            except StartError as error:
                comparison.left_out[recipe.name] = str(error)
                say(f"{recipe.name}: left out, see below")
                continue
            targets.append(target)
        _measure(targets, options, comparison, say)
    return comparison


def _start(recipe: Recipe, stage: Stage, stack: ExitStack, comparison: Comparison, say: Say) -> Target:
    """Start it, a few times for the time that takes, and look at its memory before anything else is asked of it."""
    first_answers: list[float] = []
    alone = recipe.name not in ONLY_IN
    while alone and len(first_answers) < STARTS - 1 and max(first_answers, default=0) < SLOW_START:
        with running(recipe, stage) as attempt:
            first_answers.append(attempt.first_answer)
    target = stack.enter_context(running(recipe, stage))
    if alone:
        first_answers.append(target.first_answer)
        time.sleep(SETTLE)
        idle = memory_mib(target.processes())
        comparison.startups[target.name] = Startup(first_answers, idle, _memory_per_stream(target, idle))
        say(f"{target.name}: first answer after {target.first_answer:.2f} s, {idle:.0f} MiB")
    return target


def _memory_per_stream(target: Target, idle: float) -> float:
    """KiB that each of many open streams adds, read while they run and before anything else was asked."""
    load = target.start("slow", Shape(STREAMS_FOR_MEMORY, seconds=4))
    time.sleep(3)
    busy = memory_mib(target.processes())
    end_load(load)
    time.sleep(SETTLE)
    return (busy - idle) * 1024 / STREAMS_FOR_MEMORY


def _measure(targets: Sequence[Target], options: Options, comparison: Comparison, say: Say) -> None:
    for number in range(options.rounds):
        for case in (CASES[name] for name in options.cases):
            for target in _in_turn(targets, number):
                if case.name not in ONLY_IN.get(target.name, options.cases):
                    continue
                run = Run(number, case.name, target.name, target.load(case.body, _shape(case, options.seconds)))
                comparison.runs.append(run)
                say(_line(run))
                time.sleep(SETTLE if case.streamed else 0)


def _in_turn(targets: Sequence[Target], number: int) -> list[Target]:
    first = number % len(targets) if targets else 0
    return [*targets[first:], *targets[:first]]


def _shape(case: Case, seconds: float) -> Shape:
    return Shape(
        case.connections, seconds, case.warm, expect=case.expect, deltas_each=case.deltas_each, turns=case.turns
    )


def _line(run: Run) -> str:
    report, case = run.report, CASES[run.case]
    what = (
        f"{report.delta_cpu:8.1f} µs/delta  delay p50 {report.delay_p50} p99 {report.delay_p99} µs"
        if case.streamed
        else f"{report.answer_cpu:8.1f} µs/answer  p50 {report.latency_p50} p99 {report.latency_p99} µs"
    )
    bad = "" if report.sound else f"  BAD {report.bad} {report.statuses}"
    return f"  round {run.round}  {run.case:10}{run.target:10}{what}{bad}"
