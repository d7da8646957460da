"""A comparison as readable Markdown tables: the cost of each target, and the goals that are met."""

from collections.abc import Sequence
from math import isnan

from bench.cases import CASES, Case
from bench.goals import GATEWAY, Outcome, Verdict, judge_all
from bench.measure import Machine
from bench.results import Comparison, figure, middle, unsound

YARDSTICK = "bare"

# (heading, field of the load's report, what it is divided by)
ANSWER_COLUMNS = (
    ("CPU µs/answer", "answer_cpu", 1.0),
    ("answers/s", "answer_rate", 1.0),
    ("p50 ms", "latency_p50", 1000.0),
    ("p99 ms", "latency_p99", 1000.0),
)
STREAM_COLUMNS = (
    ("CPU µs/delta", "delta_cpu", 1.0),
    ("deltas/s", "delta_rate", 1.0),
    ("delay p50 ms", "delay_p50", 1000.0),
    ("delay p99 ms", "delay_p99", 1000.0),
)


def render(comparison: Comparison) -> str:
    parts = [machine_line(comparison.machine), _startups(comparison)]
    parts += [_case(comparison, CASES[name]) for name in comparison.options["cases"]]
    parts += [_goals(judge_all(comparison)), *_faults(comparison)]
    return "\n\n".join(part for part in parts if part)


def machine_line(machine: Machine) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    hardware = f"{machine.cores} × {machine.cpu}, {machine.memory_mib} MiB, Linux {machine.kernel}"
    began = f"{machine.date} · commit {machine.commit or 'none'} · load average {machine.load_average:.2f} at the start"
    return f"{began} · {hardware} · {versions}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; the first is flush left, the others right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]) + " |"

    rule = "| " + " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]) + " |"
    return "\n".join([line(head), rule, *(line(row) for row in rows)])


def number(value: float | None) -> str:
    """Three significant digits, or all of a whole number."""
    if value is None or isnan(value):
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def _startups(comparison: Comparison) -> str:
    rows = [
        [
            name,
            number(middle(figure(comparison, name, "start.seconds"))),
            number(startup.idle_mib),
            number(startup.stream_kib),
        ]
        for name, startup in comparison.startups.items()
    ]
    return table(["start and memory", "first answer s", "idle MiB", "KiB per open stream"], rows) if rows else ""


def _case(comparison: Comparison, case: Case) -> str:
    columns = STREAM_COLUMNS if case.streamed else ANSWER_COLUMNS
    targets = dict.fromkeys(run.target for run in comparison.runs if run.case == case.name)
    first_field = columns[0][1]
    yardstick = middle(figure(comparison, YARDSTICK, f"{case.name}.{first_field}"))
    rows = []
    for target in targets:
        values = [middle(figure(comparison, target, f"{case.name}.{name}")) for _, name, _ in columns]
        cells = [
            number(None if value is None else value / by) for value, (_, _, by) in zip(values, columns, strict=True)
        ]
        ratio = values[0] / yardstick if values[0] is not None and yardstick else None
        rows.append([target, *cells, number(ratio)])
    head = [f"{case.name}: {case.says}", *(heading for heading, _, _ in columns), f"CPU × {YARDSTICK}"]
    return table(head, rows)


def _goals(verdicts: Sequence[Verdict]) -> str:
    measured = [verdict for verdict in verdicts if verdict.outcome is not Outcome.UNMEASURED]
    missing = len(verdicts) - len(measured)
    note = f"{missing} goals were not measured: a case was left out, or a peer is not installed." if missing else ""
    rows = [
        [
            verdict.goal.says,
            verdict.against or "–",
            number(verdict.ratio),
            f"{number(verdict.low)} … {number(verdict.high)}",
            number(verdict.goal.must),
            number(verdict.goal.aim),
            verdict.outcome,
        ]
        for verdict in measured
    ]
    goals = table(["goal", "against", "ratio", "over the rounds", "must ≤", "aim ≤", "outcome"], rows) if rows else ""
    return "\n\n".join(part for part in (goals, note) if part)


def _faults(comparison: Comparison) -> list[str]:
    faults = [f"{name} was left out: {why}" for name, why in comparison.left_out.items()]
    for target in dict.fromkeys(run.target for run in comparison.runs):
        for run in unsound(comparison, target):
            report = run.report
            faults.append(
                f"{target} answered {run.case} badly in round {run.round}, which is left out: "
                f"{report.bad} bad of {report.bad + report.answers}, statuses {report.statuses}"
            )
    return faults


def passed(comparison: Comparison) -> bool:
    """Whether every must that was measured is met, and the gateway gave only sound answers."""
    verdicts = judge_all(comparison)
    return (
        GATEWAY in comparison.startups
        and not unsound(comparison, GATEWAY)
        and all(verdict.outcome is not Outcome.MISSED for verdict in verdicts)
    )
