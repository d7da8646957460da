"""Check and cost estimate for a file of requests before sending: `--dry-run`.

Each request is checked as a worker would check it, and its model is looked up in the API's list. Up to SAMPLE requests,
spread evenly over the file and its models, are counted by the API's count_tokens; the tokens of the others follow from
their bytes. Prices are those of the API's list of models, if it has any.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from gateway.cli.api import Api, ApiError
from gateway.cli.batch.requests_file import Line, RequestsFile
from gateway.context import Context
from gateway.errors import InvalidRequest
from gateway.messages.prompt import to_prompt
from gateway.messages.validation.live_only import refuse_live_only

# Each is one call of count_tokens; all requests of a file are often alike.
SAMPLE: Final = 100
# A file with one mistake has it in every line.
SHOWN_PROBLEMS: Final = 10
COUNTED_FIELDS: Final = frozenset(
    {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control"}
)


@dataclass(slots=True)
class ModelEstimate:
    """Estimate for one model. `prices`: dollars per input and output token; None if the API has none."""

    model: str
    places: list[int] = field(default_factory=list)
    bytes: int = 0
    most_output: int = 0
    counted: int = 0
    counted_tokens: int = 0
    counted_bytes: int = 0
    prices: tuple[float, float] | None = None
    is_known: bool = True  # to the API's list of models, if that can be read

    @property
    def input_tokens(self) -> int:
        return round(self.counted_tokens * self.bytes / self.counted_bytes) if self.counted_bytes else 0

    @property
    def cost(self) -> tuple[float, float] | None:
        """Return dollars for the input alone, and with answers of the full max_tokens."""
        if self.prices is None:
            return None
        least = self.input_tokens * self.prices[0]
        return least, least + self.most_output * self.prices[1]


@dataclass(slots=True)
class RequestsEstimate:
    """Estimate for a file. `error`: relative error of the counts, as the gateway states it. `refused`: requests that
    would fail.

    `problems`: the first ones; `hidden`: number of further ones. A model that is not in the list is one problem.
    """

    models: list[ModelEstimate]
    requests: int
    error: float | None = None
    problems: list[str] = field(default_factory=list)
    hidden: int = 0
    refused_lines: set[int] = field(default_factory=set, repr=False)

    def refuse(self, requests: RequestsFile, line: Line, problem: str) -> None:
        self.refused_lines.add(line.number)
        if len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(f"{requests.path}:{line.number}: {problem} ({line.custom_id})")
        else:
            self.hidden += 1

    @property
    def refused_count(self) -> int:
        return len(self.refused_lines)

    @property
    def counted(self) -> int:
        return sum(model.counted for model in self.models)

    @property
    def cost(self) -> tuple[float, float] | None:
        """Return None if the price of any model is unknown."""
        costs = [model.cost for model in self.models]
        known = [cost for cost in costs if cost is not None]
        if len(known) < len(costs):
            return None
        return sum(cost[0] for cost in known), sum(cost[1] for cost in known)


async def estimate(api: Api, requests: RequestsFile, show: Callable[[int, int], None]) -> RequestsEstimate:
    """Estimate the requests. `show` receives the counted and the total number. Raises ApiError."""
    models = group(requests)
    found = RequestsEstimate(list(models.values()), len(requests))
    for model in models.values():
        await _look_up(api, model)
    unknown = {name: len(model.places) for name, model in models.items() if not model.is_known}
    for line in requests.read(range(len(requests))):
        problem = refusal_of(line.params, len(line.body))
        if problem is not None:
            found.refuse(requests, line, problem)
        elif not models[model_of(line)].is_known:
            found.refused_lines.add(line.number)
            if number := unknown.pop(model_of(line), 0):  # once for all requests: other problems would not be seen
                name = f"the gateway's list of models has no {model_of(line)}"
                found.problems.append(f"{requests.path}:{line.number}: model: {name} ({number:,} requests)")
    chosen = choose(models.values(), len(requests))
    for number, line in enumerate(requests.read(chosen), 1):
        if line.number not in found.refused_lines:
            await _count(api, requests, line, models[model_of(line)], found)
        show(number, len(chosen))
    return found


def refusal_of(params: dict[str, Any], size: int) -> str | None:
    """Return the error message that these params would get from a worker; None if it would send them."""
    try:
        refuse_live_only(params)
        to_prompt(params, size, Context("dry-run"))
    except InvalidRequest as error:
        return error.message
    return None


def group(requests: RequestsFile) -> dict[str, ModelEstimate]:
    models: dict[str, ModelEstimate] = {}
    for place, line in enumerate(requests.read(range(len(requests)))):
        model = models.setdefault(model_of(line), ModelEstimate(model_of(line)))
        model.places.append(place)
        model.bytes += len(line.body)
        limit = line.params.get("max_tokens")
        model.most_output += limit if isinstance(limit, int) else 0
    return models


def choose(models: Iterable[ModelEstimate], total: int) -> list[int]:
    """Choose all requests, if they are few; else a share of SAMPLE per model, at least one, at even distances."""
    chosen: list[int] = []
    for model in models:
        count = len(model.places)
        share = count if total <= SAMPLE else max(1, SAMPLE * count // total)
        chosen += [model.places[number * count // share] for number in range(share)]
    return sorted(chosen)


def model_of(line: Line) -> str:
    model = line.params.get("model")
    return model if isinstance(model, str) else ""


def to_json(found: RequestsEstimate, batches: int) -> dict[str, Any]:
    models = [
        {
            "model": model.model,
            "requests": len(model.places),
            "counted": model.counted,
            "input_tokens": model.input_tokens,
            "most_output_tokens": model.most_output,
            "cost_usd": None if model.cost is None else {"input": model.cost[0], "most": model.cost[1]},
        }
        for model in found.models
    ]
    return {
        "requests": found.requests,
        "batches": batches,
        "counted": found.counted,
        "refused": found.refused_count,
        "error": found.error,
        "models": models,
        "cost_usd": None if found.cost is None else {"input": found.cost[0], "most": found.cost[1]},
    }


def to_text(found: RequestsEstimate, batches: int) -> str:
    lines = [f"{found.requests:,} requests in {batches:,} {'batch' if batches == 1 else 'batches'}; nothing was sent"]
    lines += [f"would be refused: {problem}" for problem in found.problems]
    if found.hidden:
        lines.append(f"… and {found.hidden:,} more")
    for model in found.models:
        lines.append(
            f"{model.model or 'no model'}: {len(model.places):,} requests, about {model.input_tokens:,} tokens in,"
            f" at most {model.most_output:,} out; {_dollars(model.cost)}"
        )
    if len(found.models) > 1:
        lines.append(f"together: {_dollars(found.cost)}")
    sound = found.requests - found.refused_count
    how = "all requests" if found.counted == sound else f"{found.counted:,} of {sound:,} requests"
    margin = "" if found.error is None else f", which is right within about {found.error:.0%}"
    lines.append(f"counted: {how}{margin}. Discounts for cached prompts or batches are not taken off.")
    return "\n".join(lines)


def _dollars(cost: tuple[float, float] | None) -> str:
    if cost is None:
        return "price unknown: the API's list of models has none"
    return f"${cost[0]:,.4f} for the input, at most ${cost[1]:,.4f} in all"


async def _count(api: Api, requests: RequestsFile, line: Line, model: ModelEstimate, found: RequestsEstimate) -> None:
    body = {name: value for name, value in line.params.items() if name in COUNTED_FIELDS}
    try:
        counted, headers = await api.call("POST", "/v1/messages/count_tokens", json=body)
    except ApiError as error:
        if error.code not in (400, 404):
            raise
        found.refuse(requests, line, error.message)
        return
    model.counted += 1
    model.counted_tokens += counted["input_tokens"]
    model.counted_bytes += len(line.body)
    pairs = (part.strip().partition("=") for part in headers.get("x-gateway-token-count", "").split(";"))
    error_rate = {name: value for name, _, value in pairs}.get("error")
    if error_rate is not None:
        found.error = max(found.error or 0.0, float(error_rate))


async def _look_up(api: Api, model: ModelEstimate) -> None:
    """Find the model and its prices in the API's list."""
    try:
        entry = await api.get(f"/v1/models/{quote(model.model, safe='')}")
        prices = float(entry["pricing"]["prompt"]), float(entry["pricing"]["completion"])
    except ApiError as error:
        model.is_known = error.code != 404 or not await _has_whole_list(api)
        return
    except (KeyError, TypeError, ValueError):
        # A model without prices in the list: its tokens are shown, and no cost.
        return
    model.prices = prices if min(prices) >= 0 else None


async def _has_whole_list(api: Api) -> bool:
    """Return True if the API lists the models of all upstreams: only then is a missing model unknown."""
    try:
        listed, headers = await api.call("GET", "/v1/models", params={"limit": 1})
    except ApiError:
        return False
    return bool(listed.get("data")) and "x-gateway-models-unread" not in headers
