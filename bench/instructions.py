"""Instructions for a request or a delta, of the gateway beside bare; and those of each step of a request.

Each target runs under callgrind, is warmed up, and is then sent a number of requests as fast as it answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.callgrind import Counter, under_callgrind
from bench.cases import CASES
from bench.load import Shape
from bench.measure import Machine, machine
from bench.report import machine_line, table
from bench.steps import SEEING, STEP_BODIES, steps_of
from bench.targets import Recipe, Stage, StartError, running, running_stage

# Case → requests that are counted; a third of them as well before, so that caches are filled and code is specialised.
REQUESTS = {
    "small": 1000,
    "code": 200,
    "conversation": 160,
    "image": 20,
    "stream10": 20,
    "lone": 4,
    "tool10": 20,
    "burst": 40,
}
LEAST_WARM = 20
PATIENCE = 300.0  # seconds; a program runs some fifty times slower while it is counted


@dataclass(frozen=True, slots=True)
class Instructions:
    """`whole`: case → target → instructions per answer, or per delta. `steps`: body → step → instructions."""

    machine: Machine
    whole: dict[str, dict[str, float]]
    steps: dict[str, dict[str, float]]


def measure(recipes: Sequence[Recipe], cases: Sequence[str], say: Callable[[str], None]) -> Instructions:
    whole: dict[str, dict[str, float]] = {case: {} for case in cases}
    with TemporaryDirectory(prefix="bench-") as directory, running_stage() as stage:
        for recipe in recipes:
            for case in cases:
                whole[case][recipe.name] = count(recipe, case, stage, Path(directory))
                say(f"  {case:<10}{recipe.name:<10}{whole[case][recipe.name]:>14,.0f}")
        steps = {body: steps_of(body, Path(directory)) for body in STEP_BODIES}
    return Instructions(machine(), whole, steps)


def count(recipe: Recipe, name: str, stage: Stage, directory: Path) -> float:
    """Return the instructions for an answer, or for a delta. Raises StartError if the target gave none."""
    case, out = CASES[name], directory / f"{recipe.name}-{name}"
    shape = Shape(case.connections, PATIENCE, expect=case.expect, deltas_each=case.deltas_each, turns=case.turns)
    with running(replace(recipe, command=under_callgrind(recipe.command, out)), stage) as target:
        target.load(case.start or case.body, replace(shape, requests=max(LEAST_WARM, REQUESTS[name] // 3)))
        counter = Counter(target.roots[0], out)

        def count(body: str) -> tuple[int, int]:
            counter.begin()
            report = target.load(body, replace(shape, requests=REQUESTS[name]))
            return counter.end(), report.deltas if case.streamed else report.answers

        instructions, number = count(case.body)
        if case.start is not None:
            at_start, first = count(case.start)
            instructions, number = instructions - at_start, number - first
        if number <= 0:
            raise StartError(f"{recipe.name} gave no answer or delta of the case {name}")
        return instructions / number


def render(measured: Instructions) -> str:
    targets = list(dict.fromkeys(name for row in measured.whole.values() for name in row))
    rows = []
    for case, counts in measured.whole.items():
        bare = counts.get("bare")
        ratio = f"{counts['gateway'] / bare:.2f}" if bare and "gateway" in counts else ""
        rows.append([f"{case}: {CASES[case].says}", *(f"{counts[name]:,.0f}" for name in targets), ratio])
    parts = [table(["instructions per answer or delta", *targets, "gateway : bare"], rows)]
    names = list(dict.fromkeys(step for steps in measured.steps.values() for step in steps))
    rows = [[name, *(f"{steps[name]:,.0f}" for steps in measured.steps.values())] for name in names]
    parts.append(table(["instructions of a step", *measured.steps], rows))
    for body, steps in measured.steps.items():
        if whole := measured.whole.get(body, {}).get("gateway"):
            seeing = sum(steps[name] for name in SEEING)
            parts.append(
                f"{', '.join(SEEING)}: {seeing:,.0f} instructions, {seeing / whole:.1%} of an answer of `{body}`"
            )
    return "\n\n".join([machine_line(measured.machine), *parts])
