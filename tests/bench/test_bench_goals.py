"""Goals are judged by ratios within a round, and only where both sides were measured soundly."""

import pytest

from bench.cases import CASES
from bench.goals import BEST_PEER, GOALS, Goal, Outcome, judge
from bench.load import Report
from bench.results import LESS, Startup, figure
from tests.bench.bench_samples import answering, comparison, report

GOAL = Goal("small: CPU per request", "small.answer_cpu", "bare", 1.1, 0.75)


def against_bare(*microseconds: tuple[float, float]) -> dict[tuple[str, str], list[Report]]:
    """The gateway's and bare's CPU per answer in each round."""
    return {
        ("small", "gateway"): [answering(ours) for ours, _ in microseconds],
        ("small", "bare"): [answering(theirs) for _, theirs in microseconds],
    }


@pytest.mark.parametrize(
    ("ours", "outcome"),
    [
        pytest.param(70.0, Outcome.AIM, id="below the aim"),
        pytest.param(75.0, Outcome.AIM, id="just at the aim"),
        pytest.param(80.0, Outcome.MUST, id="between aim and must"),
        pytest.param(110.0, Outcome.MUST, id="just at the must"),
        pytest.param(111.0, Outcome.MISSED, id="above the must"),
    ],
)
def test_an_outcome_says_which_line_the_ratio_is_below(ours: float, outcome: Outcome) -> None:
    assert judge(GOAL, comparison(against_bare((ours, 100.0)))).outcome is outcome


def test_the_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    verdict = judge(GOAL, comparison(against_bare((100, 200), (300, 300), (90, 100))))
    assert verdict.ratio == pytest.approx(0.9)
    assert [verdict.low, verdict.high] == pytest.approx([0.5, 1.0])


def test_a_goal_without_a_must_can_only_fall_short() -> None:
    goal = Goal("small: CPU per request", "small.answer_cpu", "bare", None, 0.75)
    assert judge(goal, comparison(against_bare((900, 100)))).outcome is Outcome.SHORT


def test_a_goal_without_an_aim_is_met_at_its_must() -> None:
    goal = Goal("small: CPU per request", "small.answer_cpu", "bare", 0.2)
    assert judge(goal, comparison(against_bare((10, 100)))).outcome is Outcome.MUST


def test_a_target_that_was_not_measured_leaves_the_goal_unmeasured() -> None:
    measured = comparison({("small", "gateway"): [answering(100)]})
    assert judge(GOAL, measured).outcome is Outcome.UNMEASURED


def test_a_round_with_a_bad_answer_counts_for_neither_side() -> None:
    runs = against_bare((100, 100), (500, 100))
    runs["small", "gateway"][1] = answering(500, bad=1)
    assert judge(GOAL, comparison(runs)).ratio == pytest.approx(1.0)


def test_a_goal_without_another_target_is_held_against_the_value_itself() -> None:
    goal = Goal("idle memory, MiB", "memory.idle_mib", None, 100.0, 70.0)
    verdict = judge(goal, comparison({}, {"gateway": Startup([0.5], 62.0, 20.0)}))
    assert (verdict.ratio, verdict.outcome, verdict.against) == (62.0, Outcome.AIM, "")


def test_the_best_peer_is_the_one_that_costs_least() -> None:
    goal = Goal("code: CPU per request", "code.answer_cpu", BEST_PEER, 1 / 4)
    costs = {"gateway": 100.0, "litellm": 20_000.0, "ant2oai": 1_000.0}
    verdict = judge(goal, comparison({("code", target): [answering(cost)] for target, cost in costs.items()}))
    assert verdict.against == "ant2oai"
    assert verdict.ratio == pytest.approx(0.1)


def test_a_figure_may_be_held_against_another_of_the_gateway_itself() -> None:
    goal = Goal("tool10", "tool10.delta_cpu", "gateway", 1.1, 1.0, "stream10.delta_cpu")
    runs = {
        ("tool10", "gateway"): [report(deltas=1000, cpu_seconds=0.05)],
        ("stream10", "gateway"): [report(deltas=1000, cpu_seconds=0.04)],
    }
    assert judge(goal, comparison(runs)).ratio == pytest.approx(1.25)


def test_what_a_target_adds_is_its_figure_less_that_of_the_same_round_without_it() -> None:
    runs = {
        ("one", "gateway"): [report(latency_p50=300), report(latency_p50=340)],
        ("one", "direct"): [report(latency_p50=60), report(latency_p50=40)],
    }
    assert figure(comparison(runs), "gateway", "one.added_p50") == {0: 240, 1: 300}


def test_the_slowest_request_may_be_one_that_was_never_answered() -> None:
    runs = {("crowd", "gateway"): [report(latency_max=2000, waiting_max=1_500_000)]}
    assert figure(comparison(runs), "gateway", "crowd.slowest") == {0: 1_500_000}


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: f"{goal.figure} against {goal.against}")
def test_every_goal_names_figures_that_there_are_and_an_aim_not_above_its_must(goal: Goal) -> None:
    for name in (goal.figure, goal.their_figure or goal.figure):
        case, attribute = name.split(".")
        if case in ("start", "memory"):
            assert attribute in ("seconds", "idle_mib", "stream_kib")
        else:
            assert case in CASES
            assert hasattr(Report, attribute) or attribute in LESS
    assert goal.must is not None or goal.aim is not None
    assert goal.must is None or goal.aim is None or goal.aim <= goal.must
