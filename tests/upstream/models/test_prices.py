"""Prices as lists of models state them, and what a request costs by them."""

from typing import Any

import pytest

from gateway.upstream.models.prices import Price, to_price

LISTED = {"prompt": "1", "completion": "2", "input_cache_read": "0.5", "request": "3"}


def test_price_of_a_long_prompt_is_that_of_its_band() -> None:
    bands = [
        {"min_prompt_tokens": 300, "completion": "9"},
        {"min_prompt_tokens": 200, "prompt": "4", "completion": "5"},
    ]
    price = to_price({**LISTED, "overrides": bands})
    assert price is not None
    assert [(one.input, one.output) for one in (price, *(band for _, band in price.bands))] == [(1, 2), (4, 5), (1, 9)]
    assert price.for_prompt(199) is price
    assert [price.for_prompt(tokens).output for tokens in (200, 299, 300)] == [5, 5, 9]
    assert price.tokens_cost(100, 1, cache_read=60, cache_write=39) == 100 + 2 + 30 + 39 * 1.25
    assert price.tokens_cost(100, 1, cache_read=60, cache_write=40) == 400 + 5 + 30 + 200


def test_cache_entry_for_an_hour_costs_twice_the_input() -> None:
    price = to_price({"prompt": "4", "completion": "9"})
    assert price is not None
    assert (price.cache_write, price.cache_write_hour) == (5, 8)
    assert price.tokens_cost(0, 0, cache_write=10, for_hour=4) == 6 * 5 + 4 * 8
    assert price.tokens_cost(0, 0, cache_write=3, for_hour=4) == 3 * 8
    assert Price(4, 9, 1, 4).cache_write_hour == 4


@pytest.mark.parametrize(
    "overrides",
    [None, 1, [3], [{"prompt": "4"}], [{"min_prompt_tokens": "200"}], [{"min_prompt_tokens": 1, "prompt": "x"}]],
)
def test_bands_that_cannot_be_read_are_left_out(overrides: Any) -> None:
    assert to_price({**LISTED, "overrides": overrides}) == Price(1, 2, 0.5, 1.25, 3)
