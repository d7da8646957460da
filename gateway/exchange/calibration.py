"""Calibration of token estimates: one ratio of counted to estimated tokens per model, learned at run time.

Every finished exchange provides the true number of prompt tokens. Its estimates are in the usage record: by size for
all exchanges, and by characters for some, since that costs a millisecond for 50 kB. A ratio starts at 1 and moves by
decreasing steps down to one part in WINDOW; an outlier moves it no further than a sample at the edge.

The state lives in one process; a few exchanges restore it after a restart.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.messages.tokens.estimate import TokenEstimate, estimate_by_size
from gateway.messages.tokens.profiles import to_profile
from gateway.messages.tokens.prompt import prompt_estimate
from gateway.messages.turn_cache import known_messages
from gateway.telemetry.usage import UsageRecord

# Names of models come from clients; those used least recently are forgotten.
MAX_MODELS = 256

# A prompt of a few words is mostly framing; its count says little about a vocabulary.
LEAST_TOKENS = 100
# Vocabularies differ by less than this; beyond it the count includes other content (a router's prompt, a document).
WIDEST = 4.0
WINDOW = 32
# A ratio has settled after this many samples; from then on the effect of a sample is limited.
SETTLED = 8
PULL = 1.5

# One text in twenty is off by more before calibration (docs/tokens.md); and no claim is finer than the latter.
UNSEEN_ERROR = 0.25
LEAST_ERROR = 0.03
# 19 of 20 samples lie within this many mean deviations, if normally distributed.
DEVIATIONS = 2.5

# Requests up to this size are also counted by characters: the first ones of a model, and then every n-th.
SAMPLED_BYTES = 64 * 1024
SAMPLED_EVERY = 64


@dataclass(frozen=True, slots=True)
class Ratio:
    """True tokens per estimated token. `deviation` is the mean distance of a sample from the ratio before it."""

    value: float = 1.0
    deviation: float = UNSEEN_ERROR / DEVIATIONS
    samples: int = 0

    @property
    def error(self) -> float:
        """Return the relative error that 19 of 20 estimates stay within."""
        return max(LEAST_ERROR, DEVIATIONS * self.deviation)

    def after(self, sample: float) -> "Ratio":
        weight = 1 / min(self.samples + 2, WINDOW)
        pulled = sample
        if self.samples >= SETTLED:
            pulled = min(max(sample, self.value / PULL), self.value * PULL)
        return Ratio(
            self.value + weight * (pulled - self.value),
            self.deviation + weight * (abs(pulled / self.value - 1) - self.deviation),
            self.samples + 1,
        )


@dataclass(slots=True)
class Ratios:
    """Ratios by model, at most MAX_MODELS."""

    _by_model: OrderedDict[str, Ratio] = field(default_factory=OrderedDict)

    def of(self, model: str) -> Ratio:
        return self._by_model.get(model, UNSEEN)

    def learn(self, model: str, estimate: TokenEstimate, observed: int) -> None:
        """Learn from a prompt without media: an upstream's count does not separate media from text."""
        if estimate.media or estimate.text < LEAST_TOKENS or observed <= 0:
            return
        sample = observed / estimate.text
        if not 1 / WIDEST <= sample <= WIDEST:
            return
        self._by_model[model] = self.of(model).after(sample)
        self._by_model.move_to_end(model)
        if len(self._by_model) > MAX_MODELS:
            self._by_model.popitem(last=False)


UNSEEN = Ratio()


@dataclass(slots=True)
class TokenCalibration:
    """`by_size` corrects estimates from a request's bytes, `by_text` those from its characters."""

    by_size: Ratios = field(default_factory=Ratios)
    by_text: Ratios = field(default_factory=Ratios)
    _prompts: Counter[str] = field(default_factory=Counter)  # candidates for sampling so far, by model

    def estimate(self, record: UsageRecord, request: Mapping[str, Any], body_size: int) -> int:
        """Estimate a prompt's tokens from its size, for message_start; record the estimates for learning."""
        profile = to_profile(record.upstream_model)
        by_size = record.size_estimate = estimate_by_size(
            body_size, request, profile, known_messages(request["messages"])
        )
        if by_size.text >= LEAST_TOKENS and body_size <= SAMPLED_BYTES and not by_size.media:
            # By the number of requests, so that a model without usable counts is not sampled every time.
            seen = self._prompts[record.upstream_model]
            if len(self._prompts) >= MAX_MODELS:
                self._prompts.clear()
            self._prompts[record.upstream_model] = seen + 1
            if seen < SETTLED or seen % SAMPLED_EVERY == 0:
                record.text_estimate = prompt_estimate(request, profile)
        return by_size.tokens(self.by_size.of(record.upstream_model).value)

    def learn(self, record: UsageRecord) -> None:
        """Learn from a finished exchange; ignore failures and exchanges that the upstream did not count."""
        if record.status != 200 or record.estimated:
            return
        observed = record.input_tokens + record.cache_read_tokens + record.cache_write_tokens
        if record.size_estimate is not None:
            self.by_size.learn(record.upstream_model, record.size_estimate, observed)
        if record.text_estimate is not None:
            self.by_text.learn(record.upstream_model, record.text_estimate, observed)
