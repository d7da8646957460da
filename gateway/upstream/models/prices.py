"""Prices of a model, as the upstream's list of models or the configuration gives them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Names in OpenRouter's `pricing`, in US dollars per token or per request.
FIELDS = {
    "input": "prompt",
    "output": "completion",
    "cache_read": "input_cache_read",
    "cache_write": "input_cache_write",
    "request": "request",
}
# Prices in lists are per token; configuration and reports state them for a million.
MILLION = 1_000_000
# Prices per token are listed as decimal fractions: a product of one may exceed what was meant by its last digit.
ROUNDING = 1e-9
# Of the input's price, where no price for the cache is given (Anthropic's, for 5 minutes).
CACHE_READ = 0.1
CACHE_WRITE = 1.25
# Of the price of an entry for 5 minutes: one for an hour costs twice as much as the input.
HOUR = 1.6


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per token, `request` per request. `bands`: the prices from a length of the prompt on, in order."""

    input: float = 0.0
    output: float = 0.0
    cache_read: float = 0.0
    cache_write: float = 0.0
    request: float = 0.0
    bands: tuple[tuple[int, "Price"], ...] = ()

    @property
    def cache_write_hour(self) -> float:
        """Return the price of writing an entry that stays for an hour, where a model bills writing at all."""
        return self.cache_write * HOUR if self.cache_write > self.input else self.cache_write

    def tokens_cost(
        self, input_tokens: int, output_tokens: int, cache_read: int = 0, cache_write: int = 0, for_hour: int = 0
    ) -> float:
        """US dollars of these tokens; `input_tokens` without those read from or written to a cache.

        `for_hour`: how many of `cache_write` stay for an hour.
        """
        price = self.for_prompt(input_tokens + cache_read + cache_write)
        return (
            input_tokens * price.input
            + output_tokens * price.output
            + cache_read * price.cache_read
            + cache_write * price.cache_write
            + (min(for_hour, cache_write) * (price.cache_write_hour - price.cache_write) if for_hour else 0.0)
        )

    def for_prompt(self, tokens: int) -> "Price":
        """Return the price of requests with so long a prompt."""
        found = self
        for least, price in self.bands:
            if tokens >= least:
                found = price
        return found


# Of a model with an unknown price: as Anthropic's own gateway counts it ($5 and $25 per million tokens).
ASSUMED = Price(5e-6, 25e-6, 5e-7, 6.25e-6)


def price_per_million(prompt: float | None, completion: float | None) -> Price:
    """Convert an operator's dollars for a million tokens; what is not set costs nothing."""
    per_input = (prompt or 0.0) / MILLION
    return Price(per_input, (completion or 0.0) / MILLION, per_input * CACHE_READ, per_input * CACHE_WRITE)


def is_above(price: Price | None, ceiling: tuple[float | None, float | None]) -> bool:
    """Return True for a price above a ceiling in dollars for a million tokens, and for one that is not known."""
    if price is None:
        return True
    prompt, completion = ceiling
    return (prompt is not None and price.input * MILLION > prompt + ROUNDING) or (
        completion is not None and price.output * MILLION > completion + ROUNDING
    )


def to_price(pricing: object) -> Price | None:
    """Read the `pricing` of a list's entry; None where it gives no price of input and output."""
    if not isinstance(pricing, Mapping):
        return None
    found = {name: _number(pricing, field) for name, field in FIELDS.items()}
    if found["input"] is None or found["output"] is None:
        return None
    per_input = found["input"]
    read, write = found["cache_read"], found["cache_write"]
    return Price(
        per_input,
        found["output"],
        per_input * CACHE_READ if read is None else read,
        per_input * CACHE_WRITE if write is None else write,
        found["request"] or 0.0,
        _bands(pricing),
    )


def _bands(pricing: Mapping[str, Any]) -> tuple[tuple[int, Price], ...]:
    """Return the prices of long prompts. OpenRouter lists what differs from the others, by `min_prompt_tokens`."""
    overrides, bands = pricing.get("overrides"), []
    for one in overrides if isinstance(overrides, list) else ():
        least = one.get("min_prompt_tokens") if isinstance(one, Mapping) else None
        price = to_price({**pricing, **one, "overrides": None}) if type(least) is int else None
        if least is not None and price is not None:
            bands.append((least, price))
    return tuple(sorted(bands, key=lambda band: band[0]))


def _number(pricing: Mapping[str, Any], name: str) -> float | None:
    """A negative price means that it is not known (OpenRouter's `openrouter/auto`)."""
    value = pricing.get(name)
    try:
        number = float(value) if isinstance(value, str | int | float) else -1.0
    except ValueError:
        return None
    return number if 0 <= number < 1e6 else None
