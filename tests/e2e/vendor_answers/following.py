"""Calls that a server left in the arguments of the call in front of them."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from tests.e2e.vendor_answers.script import (
    BOTH,
    CALL,
    CALLED,
    CITY,
    IN_LONDON,
    Json,
    Meant,
    Script,
    call,
    calls,
    completion,
    peculiar,
    streamed,
    whole,
)

END, BEGIN, SEP = "<｜tool▁call▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"
# What stands in the arguments, and what is meant by it.
TEXTS: Final[dict[str, tuple[str, Meant]]] = {
    "deepseek 3.1: the next call": (f"{CITY}{END}{BEGIN}get_weather{SEP}{IN_LONDON}", BOTH),
    "deepseek 3.1: the next call with its end": (
        f"{CITY}{END}{BEGIN}get_weather{SEP}{IN_LONDON}{END}<｜tool▁calls▁end｜>",
        BOTH,
    ),
    "deepseek 3: the next call": (
        f"{CITY}\n```{END}\n{BEGIN}function{SEP}get_weather\n```json\n{IN_LONDON}\n```{END}",
        BOTH,
    ),
    "deepseek 3: the next call without its fence": (
        f"{CITY}\n```{END}\n{BEGIN}function{SEP}get_weather\n```json\n{IN_LONDON}",
        BOTH,
    ),
    "an object behind the other": (f"{CITY}{IN_LONDON}", BOTH),
    "an object on the next line": (f"{CITY}\n{IN_LONDON}\n", BOTH),
    "deepseek 3.1: the mark of the end alone": (f"{CITY}{END}", CALL),
}
UNCLEAR: Final[dict[str, str]] = {
    "the arguments again with more": '{"city": "Paris"}{"city": "Paris", "days": 2}',
    "another tool's call": f"{CITY}{END}{BEGIN}rm{SEP}{IN_LONDON}",
    "half a call": f'{CITY}{END}{BEGIN}get_weather{SEP}{{"city": "Lon',
    "an object and words": f"{CITY}{IN_LONDON} and so on",
}


def message_of(arguments: str) -> Json:
    function: Json = {"name": "get_weather", "arguments": arguments}
    return completion({"content": None, "tool_calls": [{"id": "a", "type": "function", "function": function}]}, "stop")


def scripts_of(name: str, arguments: str, meant: Meant) -> Iterator[Script]:
    yield whole(name, meant, message_of(arguments))
    yield streamed(f"{name} in one piece", meant, calls(call(arguments, 0, "a", "get_weather")), CALLED)
    pieces: list[Any] = [calls(call(letter, 0)) for letter in arguments]
    yield streamed(f"{name} in pieces", meant, calls(call("", 0, "a", "get_weather")), *pieces, CALLED)


CHAT: Final = tuple(one for name, (text, meant) in TEXTS.items() for one in scripts_of(name, text, meant))
# Passed on to clients of chat as it is.
BROKEN: Final = tuple(
    peculiar(one) for name, text in UNCLEAR.items() for one in islice(scripts_of(name, text, Meant(error=502)), 2)
)
