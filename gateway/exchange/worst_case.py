"""The most that a request may cost, for the reservation of a budget.

It is priced part by part at the dearest of all models that the request may reach: every candidate's, and those that the
request itself names to its upstream. The answer's length is the part that can be lowered where money is short.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Final

from gateway.access.admission import UnknownPrice
from gateway.access.records import NANO, PRESET
from gateway.access.reservation import Need
from gateway.exchange.list_price import FAST_MODE, PRIORITY, REGION, REGIONS
from gateway.exchange.reach import NOTHING_ELSE, Reach, joined, reach_of
from gateway.messages.prompt import Prompt
from gateway.messages.validation.fields import NAMESPACES
from gateway.upstream.models.prices import ASSUMED, Price
from gateway.upstream.routes.route import Route
from gateway.upstream.routes.table import RoutingTable

# An estimate of the prompt is off by a third at most in nearly all cases; a reservation has to hold.
INPUT_MARGIN: Final = 1.5
# For each call of a tool that the upstream runs, in dollars: twice Anthropic's and OpenAI's price of a search, and
# OpenRouter's for five results. Then the tokens of its result, which all later answers read.
CALL_FEE: Final = 0.02
RESULT_TOKENS: Final = 5000
# What a model reads at most, where its list does not have that.
USUAL_WINDOW: Final = 200_000
LENGTHS: Final = ("max_tokens", "max_completion_tokens")
FASTER_TIERS: Final = frozenset({"fast", "priority"})
TIER_FIELDS: Final = frozenset({"speed", "service_tier", "inference_geo", *NAMESPACES})


@dataclass(slots=True)
class WorstCase:
    """`price`: the dearest, None where none is counted. `unpriced`: a model without a known price, empty for none.

    `prompts`: how often the prompt is paid for at first, `answers`: how many are asked for. `calls` and `longest`: see
    `Reach`. `window`: tokens that a model reads at most. `shortest`: tokens that the operator's rules ask for at least.
    """

    price: Price | None
    unpriced: str = ""
    prompts: int = 1
    answers: int = 1
    calls: int = 0
    longest: int = 0
    window: int = USUAL_WINDOW
    shortest: int = 0

    def to_need(self, input_tokens: int, most: int, floor: int) -> Need:
        """Return the reservation for a prompt of this size and an answer of at most `most` tokens.

        `floor`: tokens below which the answer is not shortened, 0 to shorten none.
        """
        if self.price is None:
            return Need(input=input_tokens, unpriced=self.unpriced)
        tokens = ceil(input_tokens * INPUT_MARGIN)
        price = self._price_for(tokens)
        fixed = self.prompts * (price.request + tokens * max(price.input, price.cache_write_hour))
        if self.calls:
            read = sum(self._read_at(tokens, call) for call in range(1, self.calls + 1))
            longer = self.calls * max(0, self.longest - most)
            fixed += self.calls * (CALL_FEE + price.request) + read * price.input + longer * price.output
        least, written = min(most, max(floor, self.shortest)) if floor else most, self._token_price(price)
        want = ceil((fixed + most * written) * NANO)
        shortest = want if least == most else ceil((fixed + least * written) * NANO)
        return Need(want, shortest, input_tokens, self.unpriced)

    def affordable(self, money: int, need: Need, most: int) -> int:
        """Return the longest answer that the granted money buys."""
        if self.price is None or money >= need.want:
            return most
        written = self._token_price(self._price_for(ceil(need.input * INPUT_MARGIN)))
        if written == 0:
            return most
        return max(1, min(most, most - ceil((need.want - money) / (written * NANO))))

    def _token_price(self, price: Price) -> float:
        """Return the price of one more token of the answer's length."""
        return price.output * (self.answers + self.calls)

    def _price_for(self, tokens: int) -> Price:
        assert self.price is not None
        return self.price.for_prompt(self._read_at(tokens, self.calls)) if self.price.bands else self.price

    def _read_at(self, tokens: int, call: int) -> int:
        """Return the tokens that the model reads after so many calls of tools."""
        return tokens if call == 0 else max(tokens, min(self.window, tokens + call * RESULT_TOKENS))


UNCOUNTED: Final = WorstCase(None)


def worst_case(
    prompt: Prompt,
    routes: Sequence[Route],
    reach: Reach,
    table: RoutingTable,
    *,
    unknown: UnknownPrice,
    prompts: int = 1,
) -> WorstCase:
    """Return the worst case of a request with these candidates. `unknown`: what a model without a price counts as."""
    answers, first = answers_of(prompt), routes[0]
    is_plain = reach is NOTHING_ELSE and TIER_FIELDS.isdisjoint(prompt.request)
    if is_plain and len(routes) == 1 and first.policy is None and first.rule.overflow is None:
        # What most requests are: all that follows comes to the same, in more steps.
        price = _own_price(first) or (ASSUMED if unknown == "assume" else None)
        window = first.target.context_length or USUAL_WINDOW
        return WorstCase(price, "" if price is not None else first.target.model, prompts, answers, window=window)
    several = [*routes, *(one for route in routes for one in table.overflow_of(route))]
    governed = [route for route in several if route.policy is not None]
    rules = [_filled_in(route) for route in governed]
    if rules:
        reach = joined(reach, *map(reach_of, rules))
    prices = [(route.target.model, _own_price(route)) for route in several]
    if reach is not NOTHING_ELSE:
        prices += _named_prices(several, reach, table)
    counted = [price or ASSUMED for _, price in prices if price is not None or unknown == "assume"]
    price = dearest(counted, max(map(factor_of, [prompt.request, *rules]))) if counted else None
    unpriced = next((name for name, price in prices if price is None), "") if unknown != "assume" else ""
    window = max(route.target.context_length or USUAL_WINDOW for route in several)
    length = max(map(_least_length, governed), default=0)
    return WorstCase(price, unpriced, prompts, answers, reach.calls, reach.longest, window, length)


def answers_of(prompt: Prompt) -> int:
    """Return how many answers are asked for: a chat request that is passed on may want several."""
    several = prompt.request.get("n") if prompt.original is not None else None
    return several if type(several) is int and several > 1 else 1


def dearest(prices: Sequence[Price], factor: float = 1.0) -> Price:
    """Return the dearest of each part, so many times, for prompts of every length."""
    if len(prices) == 1 and factor == 1:
        return prices[0]
    lengths = sorted({least for price in prices for least, _ in price.bands})
    bands = [(least, _dearest([price.for_prompt(least) for price in prices], factor)) for least in lengths]
    return replace(_dearest(prices, factor), bands=tuple(bands))


def _dearest(prices: Sequence[Price], factor: float) -> Price:
    return Price(
        max(price.input for price in prices) * factor,
        max(price.output for price in prices) * factor,
        max(price.cache_read for price in prices) * factor,
        max(price.cache_write for price in prices) * factor,
        max(price.request for price in prices) * factor,
    )


def factor_of(request: Mapping[str, Any]) -> float:
    """Return how much dearer the request asks to be served."""
    if TIER_FIELDS.isdisjoint(request):
        return 1.0
    scopes = [request, *(scope for name in NAMESPACES if isinstance(scope := request.get(name), Mapping))]
    region = REGION if any(scope.get("inference_geo") in REGIONS for scope in scopes) else 1.0
    if any(scope.get("speed") == "fast" for scope in scopes):
        return FAST_MODE * region
    return (PRIORITY if any(scope.get("service_tier") in FASTER_TIERS for scope in scopes) else 1.0) * region


def _filled_in(route: Route) -> dict[str, Any]:
    """Return the parameters that the operator's rules may set in a request."""
    rules = {} if route.policy is None else route.policy.parameters
    return {name: rule.default if rule.lock is None else rule.lock for name, rule in rules.items()}


def _least_length(route: Route) -> int:
    """Return the tokens to which the operator's rules raise the length of an answer."""
    rules = {} if route.policy is None else route.policy.parameters
    bounds = [bound for name in LENGTHS if name in rules for bound in (rules[name].lock, rules[name].minimum)]
    return max((bound for bound in bounds if type(bound) is int), default=0)


def _own_price(route: Route) -> Price | None:
    """A preset may have any price."""
    return None if PRESET in route.target.model else route.target.price


def _named_prices(routes: Sequence[Route], reach: Reach, table: RoutingTable) -> list[tuple[str, Price | None]]:
    """Return the prices of models that an upstream is asked for by name. Few upstreams take names."""
    prices: list[tuple[str, Price | None]] = []
    for route in routes:
        named = [(name, None if PRESET in name else table.price_of(name, route.upstream)) for name in reach.models]
        takes_names = route.target.openrouter or route.dialect == "messages"
        prices += [(name, price) for name, price in named if takes_names or price is not None]
        if takes_names:
            prices += [(name, None) for name in (*reach.presets, *reach.open_choices)]
    return prices
