"""Events of Responses upstreams that name their item in an odd way, or not at all."""

from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pytest

from tests.dialects.responses.test_answer import CALLS, ITEMS, MESSAGE, WHOLE, collected, events, stream, told
from tests.support.responses_events import response

Event = dict[str, Any]
ADDED, DONE = "response.output_item.added", "response.output_item.done"


def frames_of(odd: Iterable[Event]) -> list[bytes]:
    return [b"data: " + orjson.dumps(event) + b"\n\n" for event in odd]


def without(*names: str) -> Callable[[Event], Event]:
    return lambda event: {name: value for name, value in event.items() if name not in names}


def without_item_id(event: Event) -> Event:
    return {**event, "item": without("id")(event["item"])} if "item" in event else event


PLACELESS = {"output_index", "item_id"}
ODD: dict[str, Callable[[Event], Event]] = {
    "no index": without("output_index"),
    "no id in deltas": without("item_id"),
    "no place in deltas": without(*PLACELESS),
    "places of no form": lambda event: event | {name: [] for name in PLACELESS & event.keys()},
    "no place, and no id of an item": lambda event: without(*PLACELESS)(without_item_id(event)),
    "one index for all": lambda event: event | ({"output_index": 0} if "output_index" in event else {}),
    "no index at the end": lambda event: without("output_index")(event) if event["type"] == DONE else event,
    "another index at the end": lambda event: event | ({"output_index": 9} if event["type"] == DONE else {}),
    "another index at the beginning": lambda event: event | ({"output_index": 9} if event["type"] == ADDED else {}),
    "no item at the beginning": lambda event: without("item")(event) if event["type"] == ADDED else event,
    "null at the beginning": lambda event: event | ({"item": None} if event["type"] == ADDED else {}),
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_events_find_their_item(change: Callable[[Event], Event]) -> None:
    assert [
        block | ({"signature": ""} if "signature" in block else {})
        for block in collected(*frames_of(map(change, events(ITEMS))))["content"]
    ] == [block | ({"signature": ""} if "signature" in block else {}) for block in WHOLE["content"]]


@pytest.mark.parametrize("kind", [ADDED, DONE])
def test_event_that_comes_twice_makes_no_second_item(kind: str) -> None:
    twice = [each for event in events(ITEMS) for each in ([event] * 2 if event["type"] == kind else [event])]
    assert collected(*frames_of(twice))["content"] == WHOLE["content"]


def test_item_that_is_announced_after_its_first_delta_is_the_same_one() -> None:
    *_, begun, added, delta = list(events([MESSAGE]))[:4]
    rest = list(events([MESSAGE]))[4:]
    [block] = collected(*frames_of([begun, delta, added, *rest]))["content"]
    assert block["text"] == MESSAGE["content"][0]["text"]


def test_calls_that_are_open_together_under_one_index_keep_their_pieces() -> None:
    each = [list(events([call]))[2:-1] for call in CALLS]
    mixed = [event for pair in zip(*each, strict=False) for event in pair]
    rest = [event for one in each for event in one[min(map(len, each)) :]]
    last = {"type": "response.completed", "response": response(CALLS)}
    blocks = collected(*frames_of([*mixed, *rest, last]))["content"]
    assert [block["input"] for block in blocks] == [orjson.loads(call["arguments"] or "{}") for call in CALLS]


def test_calls_of_a_whole_response_may_have_one_id() -> None:
    calls = [{**call, "id": "fc_1"} for call in CALLS]
    blocks = collected(orjson.dumps(response(calls)))["content"]
    assert [block["name"] for block in blocks] == [call["name"] for call in CALLS]


@pytest.mark.parametrize("kind", ["response.failed", "response.cancelled"])
def test_type_of_the_last_event_is_enough_for_a_failure(kind: str) -> None:
    converter = stream()
    told(converter, *frames_of([*list(events([MESSAGE]))[:-1], {"type": kind}]))
    assert converter.failure is not None


def test_type_of_the_last_event_is_enough_for_a_limit() -> None:
    message = collected(*frames_of([*list(events([MESSAGE]))[:-1], {"type": "response.incomplete"}]))
    assert message["stop_reason"] == "max_tokens"
