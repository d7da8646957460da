"""Channels of gpt-oss without their marks, as servers leave them that drop special tokens and have no parser."""

from collections.abc import Iterator
from typing import Any, Final

from tests.e2e.vendor_answers.script import (
    BOTH,
    CALLED,
    CITY,
    IN_LONDON,
    STOP,
    Meant,
    Script,
    completion,
    say,
    streamed,
    whole,
)

CALL_START: Final = "assistantcommentary to=functions."
THOUGHT_CALL: Final = Meant(thinking="Hm", calls=(("get_weather", {"city": "Paris"}),), stop="tool_use")
TEXTS: Final[dict[str, tuple[str, Meant]]] = {
    "thinking and text": ("analysisHmassistantfinalHello", Meant("Hello", "Hm")),
    "thinking and text behind the role": (
        "assistantanalysisHmassistantfinalHello",
        Meant("Hello", "Hm"),
    ),
    "text behind thinking that the server took out": ("assistantfinalHello", Meant("Hello")),
    "thinking twice": ("analysisHassistantanalysismassistantfinalHello", Meant("Hello", "H\nm")),
    "a call": (f"analysisHm{CALL_START}get_weather json{CITY}", THOUGHT_CALL),
    "a call with its word glued": (f"analysisHm{CALL_START}get_weatherjson{CITY}", THOUGHT_CALL),
    "two calls": (f"{CALL_START}get_weather json{CITY}{CALL_START}get_weather json{IN_LONDON}", BOTH),
    "words that begin alike": ("analysis of the text: Hello", Meant("analysis of the text: Hello")),
    "thinking without an end": ("analysisResults", Meant("analysisResults")),
    "a call of no tool": (f"analysisHm{CALL_START}rm json{CITY}", Meant(f"analysisHm{CALL_START}rm json{CITY}")),
    "a call and words": (
        f"analysisHm{CALL_START}get_weather json{CITY} done",
        Meant(f"analysisHm{CALL_START}get_weather json{CITY} done"),
    ),
}


def scripts_of(name: str, text: str, meant: Meant) -> Iterator[Script]:
    end = CALLED if meant.calls else STOP
    letters: list[Any] = [say(letter) for letter in text]
    yield whole(f"gpt-oss: {name}", meant, completion({"content": text}))
    yield streamed(f"gpt-oss: {name} in one piece", meant, say(text), end)
    yield streamed(f"gpt-oss: {name} in pieces", meant, *letters, end)


GPT_OSS: Final = tuple(one for name, (text, meant) in TEXTS.items() for one in scripts_of(name, text, meant))
# The same text of another model is text.
OTHERS: Final = tuple(
    one for name, (text, _) in list(TEXTS.items())[:5] for one in scripts_of(f"{name}, not of it", text, Meant(text))
)
