"""Learning from what upstreams count: one ratio for each model, moved by every exchange and upset by none."""

from typing import Any

import pytest

from gateway.context import Context
from gateway.exchange.calibration import (
    LEAST_ERROR,
    LEAST_TOKENS,
    MAX_MODELS,
    SAMPLED_BYTES,
    SAMPLED_EVERY,
    SETTLED,
    UNSEEN_ERROR,
    Ratio,
    Ratios,
    TokenCalibration,
)
from gateway.messages.tokens.estimate import TokenEstimate
from gateway.telemetry.usage import UsageRecord

MODEL = "vendor/model"
WORDS = "Seventeen lanterns were hung along the quay before the ferry came in. "


def taught(*samples: float, estimate: float = 1000.0) -> Ratio:
    ratios = Ratios()
    for sample in samples:
        ratios.learn(MODEL, TokenEstimate(estimate), round(sample * estimate))
    return ratios.of(MODEL)


def test_a_model_that_was_never_seen_has_a_ratio_of_one_and_a_wide_error() -> None:
    assert Ratios().of(MODEL) == Ratio(1.0, samples=0)
    assert Ratio().error == pytest.approx(UNSEEN_ERROR)


def test_a_few_samples_find_the_ratio_and_narrow_the_error() -> None:
    ratio = taught(*[1.5] * 40)
    assert (ratio.value, ratio.samples) == (pytest.approx(1.5, abs=0.02), 40)
    assert taught(*[1.5] * 100).error < ratio.error < UNSEEN_ERROR


def test_the_first_sample_goes_half_the_way() -> None:
    assert taught(1.5).value == pytest.approx(1.25)


def test_the_error_grows_with_the_spread_of_the_samples_and_never_vanishes() -> None:
    assert taught(*[1.0] * 500).error == LEAST_ERROR
    assert taught(*[0.8, 1.2] * 100).error == pytest.approx(0.5, abs=0.1)


def test_a_ratio_follows_a_model_that_changes() -> None:
    assert taught(*[1.0] * 100, *[1.4] * 100).value == pytest.approx(1.4, abs=0.02)


@pytest.mark.parametrize("outlier", [3.9, 0.26])
def test_one_odd_sample_hardly_moves_a_settled_ratio(outlier: float) -> None:
    assert taught(*[1.2] * 100, outlier).value == pytest.approx(1.2, rel=0.02)


@pytest.mark.parametrize(
    ("estimate", "observed"),
    [
        pytest.param(TokenEstimate(1000.0), 5000, id="five times as much: something else was counted"),
        pytest.param(TokenEstimate(1000.0), 200, id="a fifth"),
        pytest.param(TokenEstimate(1000.0), 0, id="nothing"),
        pytest.param(TokenEstimate(LEAST_TOKENS - 1.0), 90, id="a few words"),
        pytest.param(TokenEstimate(1000.0, 1.0), 1200, id="a prompt with media"),
    ],
)
def test_nothing_is_learned_from(estimate: TokenEstimate, observed: int) -> None:
    ratios = Ratios()
    ratios.learn(MODEL, estimate, observed)
    assert ratios.of(MODEL).samples == 0


def test_each_model_has_its_ratio_and_the_least_recent_are_forgotten() -> None:
    ratios = Ratios()
    for number in range(MAX_MODELS):
        ratios.learn(f"m{number}", TokenEstimate(1000.0), 1200)
    ratios.learn("m0", TokenEstimate(1000.0), 1200)
    ratios.learn("one more", TokenEstimate(1000.0), 2000)
    assert [ratios.of(name).samples for name in ("m0", "m1", "m2", "one more")] == [2, 0, 1, 1]
    assert ratios.of("one more").value > ratios.of("m2").value


# From usage records


def exchange(calibration: TokenCalibration, prompt_tokens: int, **fields: Any) -> UsageRecord:
    """One exchange of 1,000 words or so, as the upstream counted it."""
    record = UsageRecord(Context("req_1"), upstream_model=MODEL)
    request = {"model": "m", "messages": [{"role": "user", "content": WORDS * 80}]}
    calibration.estimate(record, request, len(WORDS) * 80 + 60)
    record.input_tokens = prompt_tokens
    for name, value in fields.items():
        setattr(record, name, value)
    calibration.learn(record)
    return record


def test_the_estimate_of_the_next_prompt_is_corrected() -> None:
    calibration = TokenCalibration()
    request = {"model": "m", "messages": [{"role": "user", "content": WORDS * 80}]}
    before = calibration.estimate(UsageRecord(Context("r"), upstream_model=MODEL), request, 5660)
    for _ in range(40):
        exchange(calibration, 2 * before)
    after = calibration.estimate(UsageRecord(Context("r"), upstream_model=MODEL), request, 5660)
    assert after == pytest.approx(2 * before, rel=0.05)
    assert calibration.by_text.of(MODEL).value > 1.5


def test_cached_tokens_belong_to_the_prompt() -> None:
    calibration = TokenCalibration()
    exchange(calibration, 200, cache_read_tokens=1000, cache_write_tokens=300)
    other = TokenCalibration()
    exchange(other, 1500)
    assert calibration.by_size.of(MODEL) == other.by_size.of(MODEL)
    assert calibration.by_size.of(MODEL).samples == 1


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"status": 502}, id="failed"),
        pytest.param({"status": 499}, id="was given up by the client"),
        pytest.param({"estimated": True}, id="the upstream did not count"),
        pytest.param({"size_estimate": None, "text_estimate": None}, id="was shortened before it went upstream"),
    ],
)
def test_calibration_ignores_an_exchange_that(fields: dict[str, Any]) -> None:
    calibration = TokenCalibration()
    exchange(calibration, 1500, **fields)
    assert calibration.by_size.of(MODEL).samples == calibration.by_text.of(MODEL).samples == 0


def test_the_first_exchanges_are_counted_in_full_and_then_one_in_so_many() -> None:
    calibration = TokenCalibration()
    rounds = SETTLED + 3 * SAMPLED_EVERY
    counted = [exchange(calibration, 1500).text_estimate is not None for _ in range(rounds)]
    assert all(counted[:SETTLED])
    assert sum(counted[SETTLED:]) == 3


@pytest.mark.parametrize(
    ("content", "size"),
    [
        pytest.param(WORDS, SAMPLED_BYTES + 1, id="that are large"),
        pytest.param([{"type": "image", "source": {"type": "base64", "data": "AAAA"}}], 100, id="with media"),
    ],
)
def test_prompts_are_not_counted_in_full(content: Any, size: int) -> None:
    record = UsageRecord(Context("r"), upstream_model=MODEL)
    TokenCalibration().estimate(record, {"messages": [{"role": "user", "content": content}]}, size)
    assert record.size_estimate is not None
    assert record.text_estimate is None
