"""Requests of OpenAI's clients to Claude: nothing that its models refuse, and a note for what is left out."""

from typing import Any

import pytest

from gateway.dialects.native.claude_limits import within_claude_limits
from gateway.dialects.native.parameters import to_messages_fields
from gateway.errors import InvalidRequest

BASE: dict[str, Any] = {"max_tokens": 32_000, "messages": [{"role": "user", "content": "hi"}]}
CALLED = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]},
]
THOUGHT = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
THOUGHT_AND_CALLED = [CALLED[0], {**CALLED[1], "content": [THOUGHT, *CALLED[1]["content"]]}, CALLED[2]]
ADAPTIVE = {"type": "adaptive"}


def sent(version: tuple[int, int], **fields: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the fields beyond the base that reach the model, and the notes."""
    request, notes = to_messages_fields({**BASE, **fields})
    request, more = within_claude_limits(request, version, has_effort="thinking" not in fields)
    told = {name: value for name, value in request.items() if name not in BASE}
    return told, [note.text for note in (*notes, *more)]


# Of a request: the model's version, its fields, what is sent, and the notes.
CASES: dict[str, tuple[tuple[int, int], dict[str, Any], dict[str, Any], list[str]]] = {
    "one sampler": ((4, 5), {"temperature": 0.2}, {"temperature": 0.2}, []),
    "two samplers": ((4, 5), {"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2}, ["dropped:top_p"]),
    "two samplers, older models": ((3, 7), {"temperature": 0, "top_p": 1}, {"temperature": 0, "top_p": 1}, []),
    "samplers, newer models": (
        (4, 7),
        {"temperature": 0.2, "top_p": 0.9, "top_k": 5},
        {},
        ["dropped:temperature", "dropped:top_p", "dropped:top_k"],
    ),
    "the usual temperature, newer models": ((5, 0), {"temperature": 1}, {"temperature": 1}, []),
    "a temperature beside an effort": (
        (4, 6),
        {"reasoning_effort": "high", "temperature": 0.2},
        {"thinking": ADAPTIVE, "output_config": {"effort": "high"}},
        ["dropped:temperature"],
    ),
    "what may stand beside thinking": (
        (4, 6),
        {"thinking": ADAPTIVE, "temperature": 1, "top_p": 0.99, "top_k": 4},
        {"thinking": ADAPTIVE, "temperature": 1, "top_p": 0.99},
        ["dropped:top_k"],
    ),
    "an effort, older models": (
        (4, 5),
        {"reasoning_effort": "medium"},
        {"thinking": {"type": "enabled", "budget_tokens": 16_000}},
        ["changed:reasoning_effort"],
    ),
    "an effort and a format, older models": (
        (4, 5),
        {
            "reasoning_effort": "low",
            "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
        },
        {
            "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
            "thinking": {"type": "enabled", "budget_tokens": 6400},
        },
        ["changed:reasoning_effort"],
    ),
    "no effort, older models": ((4, 5), {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}, []),
    "an effort with too few tokens, older models": (
        (4, 5),
        {"reasoning_effort": "high", "max_tokens": 1000},
        {},
        ["dropped:reasoning_effort"],
    ),
    "an effort and a forced tool, older models": (
        (4, 5),
        {"reasoning_effort": "high", "tool_choice": {"type": "any"}},
        {"tool_choice": {"type": "any"}},
        ["dropped:reasoning_effort"],
    ),
    "an effort behind calls without thinking, older models": (
        (4, 5),
        {"reasoning_effort": "high", "messages": CALLED},
        {},
        ["dropped:reasoning_effort"],
    ),
    "an effort behind calls with thinking, older models": (
        (4, 5),
        {"reasoning_effort": "high", "messages": THOUGHT_AND_CALLED},
        {"thinking": {"type": "enabled", "budget_tokens": 25_600}},
        ["changed:reasoning_effort"],
    ),
    "thinking as it was asked for, older models": ((4, 5), {"thinking": ADAPTIVE}, {"thinking": ADAPTIVE}, []),
    "OpenAI's word for the usual tier": ((5, 0), {"service_tier": "default"}, {"service_tier": "standard_only"}, []),
    "a tier of OpenAI's": ((5, 0), {"service_tier": "flex"}, {}, ["dropped:service_tier"]),
    "a search": ((5, 0), {"web_search_options": {}}, {}, ["dropped:web_search_options"]),
}


@pytest.mark.parametrize("case", CASES)
def test_claude_gets_what_it_takes(case: str) -> None:
    version, fields, told, notes = CASES[case]
    assert sent(version, **fields) == (told, notes)


@pytest.mark.parametrize(("detail", "notes"), [("high", ["messages.0.content.0.detail"]), ("auto", [])])
def test_detail_of_an_image_does_not_reach_messages(detail: str, notes: list[str]) -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://a.example/a.png"}}
    content = [{**image, "detail": detail}, {"type": "text", "text": "What is it?"}]
    fields, told = to_messages_fields({**BASE, "messages": [{"role": "user", "content": content}]})
    assert fields["messages"][0]["content"] == [image, content[1]]
    assert [note.field for note in told] == notes


def test_detail_of_an_image_in_a_result_does_not_reach_messages() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://a.example/a.png"}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [{**image, "detail": "low"}]}
    fields, told = to_messages_fields({**BASE, "messages": [*CALLED[:2], {"role": "user", "content": [result]}]})
    assert fields["messages"][2]["content"] == [{**result, "content": [image]}]
    assert [note.field for note in told] == ["messages.2.content.0.content.0.detail"]


def test_messages_without_media_stay_the_same() -> None:
    fields, _ = to_messages_fields({**BASE, "messages": CALLED})
    assert all(one is other for one, other in zip(fields["messages"], CALLED, strict=True))


@pytest.mark.parametrize("kind", ["input_audio", "video_url"])
def test_sound_and_video_are_refused_by_name_for_messages(kind: str) -> None:
    content = [{"type": kind, kind: {"url": "https://a.example/a"}}]
    with pytest.raises(InvalidRequest, match=rf"^messages\.0\.content\.0: .*{kind}"):
        to_messages_fields({**BASE, "messages": [{"role": "user", "content": content}]})


@pytest.mark.parametrize(
    ("fields", "noted"),
    [
        ({"reasoning": {"summary": "auto"}}, ["reasoning.summary"]),
        ({"reasoning": {"summary": "auto"}, "reasoning_effort": "none"}, ["reasoning.summary"]),
        ({"reasoning": {"summary": "auto"}, "reasoning_effort": "low"}, []),
    ],
)
def test_summary_is_noted_where_the_model_is_not_asked_to_think(fields: dict[str, Any], noted: list[str]) -> None:
    assert [note.field for note in to_messages_fields({**BASE, **fields})[1]] == noted
