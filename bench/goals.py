"""Goals for the gateway's cost, each as a ratio to another target of the same run, and their check.

A `must` that is missed is a fault; an `aim` is what the design should reach. Goals against a peer are judged only
where that peer was measured. CPU ratios hold to about ±10 % over five or more rounds, latencies to ±25 %: a goal that
is nearer to its line than that needs more rounds.
"""

from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from bench.results import Comparison, figure, middle

GATEWAY = "gateway"
BEST_PEER = "best peer"
PEERS = ("litellm", "ant2oai", "ccr")


class Outcome(StrEnum):
    AIM = "aim reached"
    MUST = "must met"
    SHORT = "short of the aim"
    MISSED = "MISSED"
    UNMEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Goal:
    """`figure` of the gateway is at most `must` (`aim`) times that of `against`; without one, at most that value.

    `their_figure` is what it is held against, where that is not the same figure.
    """

    says: str
    figure: str
    against: str | None
    must: float | None
    aim: float | None = None
    their_figure: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ratio` is the median over the rounds, `low` and `high` the extremes; the plain value where there is no other."""

    goal: Goal
    outcome: Outcome
    against: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


GOALS = (
    Goal("small: CPU per request", "small.answer_cpu", "bare", 1.1, 0.75),
    Goal("small: CPU per request", "small.answer_cpu", "litellm", 1 / 80, 1 / 110),
    Goal("small: CPU per request", "small.answer_cpu", "ccr", 1 / 5),
    Goal("small: CPU of log, metrics and console", "small.observed_cpu", GATEWAY, None, 0.03, "small.answer_cpu"),
    Goal("one: p50 added to direct", "one.added_p50", "bare", 1.1, 0.85),
    Goal("one: p50 added to direct", "one.added_p50", "litellm", 1 / 40, 1 / 60),
    Goal("one: p99", "one.latency_p99", "bare", 1.2, 1.0),
    # What GoModel publishes of its Messages endpoint: 2 vCPU, an upstream stand-in, 10 connections.
    Goal("ten: p50, µs", "ten.latency_p50", None, None, 1760),
    Goal("ten: p99, µs", "ten.latency_p99", None, None, 6590),
    Goal("ten: from answer to answer, µs", "ten.answer_gap", None, None, 1e6 / 4928),
    Goal("crowd: the slowest request", "crowd.slowest", "bare", 4.0, 2.0),
    Goal("code: CPU per request", "code.answer_cpu", "bare", 3.5, 1.9),
    Goal("code: CPU per request", "code.answer_cpu", "litellm", 1 / 25, 1 / 55),
    Goal("code: CPU per request", "code.answer_cpu", BEST_PEER, 1 / 4, 1 / 9),
    Goal("code: p99", "code.latency_p99", "bare", 5.0, 2.5),
    Goal("image: CPU per request", "image.answer_cpu", "bare", 1.6, 1.2),
    Goal("image: CPU per request", "image.answer_cpu", "litellm", 1 / 5),
    Goal("stream10: CPU per delta", "stream10.delta_cpu", "bare", 0.75, 0.5),
    Goal("stream10: CPU per delta", "stream10.delta_cpu", "litellm", 1 / 12),
    Goal("stream10: CPU per delta", "stream10.delta_cpu", BEST_PEER, 1 / 3),
    Goal("stream500: CPU per delta", "stream500.delta_cpu", "bare", 0.8, 0.6),
    Goal("stream500: CPU per delta", "stream500.delta_cpu", "nginx", None, 1.4),
    Goal("stream500: CPU per delta", "stream500.delta_cpu", "litellm", 1 / 20),
    Goal("stream500: CPU per delta", "stream500.delta_cpu", "ccr", 1 / 3),
    Goal("stream500: p99 of a delta's delay", "stream500.delay_p99", "bare", 1.2, 1.0),
    Goal("tool10: CPU per delta, against text", "tool10.delta_cpu", GATEWAY, 1.1, 1.0, "stream10.delta_cpu"),
    Goal("tool10: p50 of a delta's delay, against text", "tool10.delay_p50", GATEWAY, 1.1, 1.0, "stream10.delay_p50"),
    Goal("burst: CPU per delta", "burst.delta_cpu", "bare", 1.5, 1.0),
    Goal("burst: CPU per delta", "burst.delta_cpu", "litellm", 1 / 100),
    Goal("start to first answer, s", "start.seconds", None, 1.5),
    Goal("start to first answer", "start.seconds", "bare", None, 2.0),
    Goal("start to first answer", "start.seconds", "litellm", 1 / 5),
    Goal("idle memory, MiB", "memory.idle_mib", None, 100.0, 70.0),
    Goal("idle memory", "memory.idle_mib", "litellm", 1 / 5),
    Goal("memory per open stream, KiB", "memory.stream_kib", None, 60.0, 24.0),
)


def judge(goal: Goal, comparison: Comparison) -> Verdict:
    ours = figure(comparison, GATEWAY, goal.figure)
    if goal.against is None:
        return _verdict(goal, "", list(ours.values()))
    name = goal.their_figure or goal.figure
    against = _best_peer(comparison, name) if goal.against == BEST_PEER else goal.against
    theirs = figure(comparison, against, name)
    ratios = [ours[number] / theirs[number] for number in ours.keys() & theirs.keys() if theirs[number] > 0]
    return _verdict(goal, against, ratios)


def judge_all(comparison: Comparison) -> list[Verdict]:
    return [judge(goal, comparison) for goal in GOALS]


def _best_peer(comparison: Comparison, name: str) -> str:
    values = {peer: value for peer in PEERS if (value := middle(figure(comparison, peer, name))) is not None}
    return min(values, key=lambda peer: values[peer], default=BEST_PEER)


def _verdict(goal: Goal, against: str, values: list[float]) -> Verdict:
    if not values:
        return Verdict(goal, Outcome.UNMEASURED, against)
    ratio = median(values)
    return Verdict(goal, _outcome(goal, ratio), against, ratio, min(values), max(values))


def _outcome(goal: Goal, ratio: float) -> Outcome:
    if goal.must is not None and ratio > goal.must:
        return Outcome.MISSED
    if goal.aim is not None and ratio <= goal.aim:
        return Outcome.AIM
    return Outcome.MUST if goal.must is not None else Outcome.SHORT
