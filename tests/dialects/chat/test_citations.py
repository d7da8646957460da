"""Citations: sent where their text ends, searches sent once, and all of it given back as text."""

from typing import Any

import orjson
import pytest

from gateway.dialects.chat.citations import EXCERPT_LENGTH, MAX_CITATIONS, MAX_FILE_BYTES
from gateway.dialects.chat.request.convert import to_chat_request
from gateway.dialects.chat.request.fallbacks.apply import apply
from gateway.dialects.chat.response.convert import to_message
from gateway.errors import UpstreamError
from gateway.messages.envelope import seal
from gateway.messages.validation import check_messages_request
from gateway.upstream.models.target import Target, to_target
from gateway.upstream.vendors.adaptation import Adaptation
from gateway.upstream.vendors.registry import COMPATIBLE
from tests.support.bodies import assistant
from tests.support.conversions import CACHED, CLAUDE, DEEPSEEK, GEMINI, HELLO, OPENAI, text
from tests.support.golden_cases import CASES
from tests.support.streams import KEYRING, Json, call, check_grammar, chunk, completion, finish, reply, say, told

GOLDEN = {case.name: case for case in CASES}


def cite(url: str, end: int | None = None, start: int = 0, content: str = "") -> Json:
    place = {} if end is None else {"start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": {"url": url, "title": url.upper(), "content": content, **place}}


def answer(content: str, *annotations: Json, **message: Any) -> list[Json]:
    """The blocks of a JSON answer."""
    whole = completion({"role": "assistant", "content": content, "annotations": list(annotations), **message})
    blocks: list[Json] = to_message(whole, reply()).message["content"]
    return blocks


def pieces(blocks: list[Json]) -> list[tuple[str, list[str]]]:
    """Each text, with the addresses that it cites."""
    return [
        (block["text"], [citation["url"] for citation in block["citations"] or ()])
        for block in blocks
        if block["type"] == "text"
    ]


def streamed(*payloads: Json, **fields: Any) -> list[tuple[str, list[str]]]:
    """The same of a stream, read from its events."""
    events = told(*payloads, finish(), **fields).events
    check_grammar(events, complete=True)
    texts: dict[int, tuple[list[str], list[str]]] = {}
    for event in events:
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "text":
            texts[event["index"]] = ([], [])
        elif event["type"] == "content_block_delta" and event["index"] in texts:
            said, cited = texts[event["index"]]
            delta = event["delta"]
            if delta["type"] == "text_delta":
                said.append(delta["text"])
            else:
                cited.append(delta["citation"]["url"])
    return [("".join(said), cited) for said, cited in texts.values()]


CUTS = [
    pytest.param([cite("a", 4)], [("One. ", ["a"]), ("Two.", [])], id="at the end of a citation"),
    pytest.param([cite("b", 9, 5), cite("a", 4)], [("One. ", ["a"]), ("Two.", ["b"])], id="in the order of the text"),
    pytest.param([cite("a", 4), cite("b", 4)], [("One. ", ["a", "b"]), ("Two.", [])], id="once for one place"),
    pytest.param([cite("a")], [("One. Two.", ["a"])], id="not at all without a place"),
    pytest.param([cite("a", 0)], [("One. Two.", ["a"])], id="not at all where places are zero"),
    pytest.param([cite("a", 3, 5)], [("One. Two.", ["a"])], id="not at all where the end is before the start"),
    pytest.param([cite("a", 99)], [("One. Two.", ["a"])], id="not at all where the place is beyond the text"),
    pytest.param([cite("a", 4), cite("b")], [("One. ", ["a"]), ("Two.", ["b"])], id="the rest has what has no place"),
    pytest.param([cite("a", 4), cite("b", 5)], [("One. ", ["a", "b"]), ("Two.", [])], id="never into white space"),
    pytest.param([cite("a", 4), cite("a", 4)], [("One. ", ["a"]), ("Two.", [])], id="a repetition has no effect"),
]


@pytest.mark.parametrize(("annotations", "expected"), CUTS)
def test_a_text_is_cut(annotations: list[Json], expected: list[tuple[str, list[str]]]) -> None:
    assert pieces(answer("One. Two.", *annotations)) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize(("annotations", "expected"), CUTS)
def test_a_stream_is_cut_likewise_however_its_deltas_lie(
    annotations: list[Json], expected: list[tuple[str, list[str]]], size: int
) -> None:
    whole = "One. Two."
    deltas = [say(whole[start : start + size]) for start in range(0, len(whole), size)]
    assert streamed(chunk({"annotations": annotations}), *deltas) == expected


def test_white_space_behind_a_citation_makes_no_block() -> None:
    """It could not be sent back: the API refuses blocks of white space."""
    assert pieces(answer("One.\n\n", cite("a", 4))) == [("One.\n\n", ["a"])]
    assert pieces(answer("\n One.", cite("a", 1))) == [(" One.", ["a"])]


def test_annotations_in_the_delta_of_their_text_are_read_before_it() -> None:
    first = chunk({"content": "One. Two.", "annotations": [cite("a", 4)]})
    assert streamed(first) == [("One. ", ["a"]), ("Two.", [])]


def test_late_citation_cites_the_open_text_as_a_whole() -> None:
    late = chunk({"annotations": [cite("a", 4), cite("b", 9)]})
    assert streamed(say("One. "), say("Two."), late, say(" Three.")) == [("One. Two. Three.", ["a", "b"])]


def test_late_citation_cites_text_that_waits() -> None:
    payloads = [call(0, '{"a"', "id_a", "a"), say("Later."), chunk({"annotations": [cite("x", 6)]}), call(0, ": 1}")]
    assert streamed(*payloads) == [("Later.", ["x"])]


def test_late_citation_of_closed_text_is_noted_and_its_source_listed() -> None:
    result = told(say("One."), call(0, "{}", "id_a", "a"), chunk({"annotations": [cite("x", 4)]}), finish())
    assert [note.reason for note in result.stream.notes] == [
        "the answer's citations of a text that had ended could not be carried over"
    ]
    assert [block["type"] for block in result.blocks] == [
        "text",
        "tool_use",
        "server_tool_use",
        "web_search_tool_result",
    ]
    assert result.stop["stop_reason"] == "tool_use"


def test_the_search_comes_before_the_text_and_once() -> None:
    blocks = answer("One. Two.", cite("a", 4), cite("a", 9), cite("b", 9))
    assert [block["type"] for block in blocks] == ["server_tool_use", "web_search_tool_result", "text", "text"]
    search, found = blocks[:2]
    assert found["tool_use_id"] == search["id"] == "srvtoolu_msg1_0"
    assert [(result["url"], result["title"]) for result in found["content"]] == [("a", "A"), ("b", "B")]


def test_later_results_come_in_a_second_search() -> None:
    early, late = chunk({"annotations": [cite("a", 4)]}), chunk({"annotations": [cite("a", 4), cite("b")]})
    blocks = told(early, say("One. Two."), late, finish()).blocks
    found = [block for block in blocks if block["type"] == "web_search_tool_result"]
    assert [[result["url"] for result in block["content"]] for block in found] == [["a"], ["b"]]
    assert len({block["tool_use_id"] for block in found}) == 2


def test_thinking_comes_before_the_search() -> None:
    blocks = answer("One.", cite("a", 4), reasoning="Hm")
    assert [block["type"] for block in blocks] == ["thinking", "server_tool_use", "web_search_tool_result", "text"]


def test_citations_pass_thinking_that_comes_in_tags() -> None:
    found = chunk({"annotations": [cite("a")]})
    assert streamed(say("<think>Hm</think>"), found, say("One."), think_tags=True) == [("One.", ["a"])]


def test_text_behind_a_stop_sequence_is_not_cited() -> None:
    found = chunk({"annotations": [cite("a", 4)]})
    assert streamed(say("One. STOP"), found, stop_sequences=("STOP",)) == [("One. ", [])]
    assert streamed(found, say("One. STOP Two."), stop_sequences=("STOP",)) == [("One. ", ["a"])]


def test_deltas_are_spliced_again_once_nothing_more_is_to_be_cut() -> None:
    words = [say(f"word{number} ") for number in range(20)]
    ((first, _), (rest, _)) = streamed(chunk({"annotations": [cite("a", 5)]}), *words)
    assert first + rest == "".join(f"word{number} " for number in range(20))


def test_a_citation_that_anthropic_made_keeps_its_index() -> None:
    made = {"type": "web_search_citation", "url": "a", "title": "T", "cited_text": "Said.", "encrypted_index": "E"}
    (citation,) = answer("One.", made)[-1]["citations"]
    assert citation == {
        "type": "web_search_result_location",
        "url": "a",
        "title": "T",
        "cited_text": "Said.",
        "encrypted_index": "E",
    }


def test_an_upstream_that_cites_without_end_is_cut_short() -> None:
    result = told(say("x"), chunk({"annotations": [cite(f"u{number}") for number in range(1500)]}), finish())
    assert sum(event.get("delta", {}).get("type") == "citations_delta" for event in result.events) == MAX_CITATIONS
    assert [note.reason for note in result.stream.notes] == [
        "the answer's annotations beyond the first could not be carried over"
    ]
    enough = [cite(f"u{number}") for number in range(MAX_CITATIONS)]
    assert told(say("x"), chunk({"annotations": [*enough, enough[0]]}), finish()).stream.notes == ()


def test_late_citations_give_the_same_text_and_sources_as_early_ones() -> None:
    """A stream that cites too late differs only in the places of cuts and of the search."""
    early, late = (
        GOLDEN[name].json("message.json")["content"] for name in ("citations_before_text", "citations_after_text")
    )
    cited = [url for _, urls in pieces(early) for url in urls]
    assert pieces(late) == [("Cats purr. Dogs bark.", cited)]
    found = [[block["content"] for block in blocks if "content" in block] for blocks in (early, late)]
    assert found[0] == found[1]


# In the next request


def replayed(blocks: list[Json], target: Any = DEEPSEEK) -> Json:
    """The assistant's message of the next request, and what is noted of it."""
    body: Any = {"model": "any", "max_tokens": 9, "messages": [HELLO, assistant(*blocks), HELLO]}
    check_messages_request(body, version="2026-10-21", betas=frozenset())
    conversion = to_chat_request(body, target, KEYRING)
    message: Any = conversion.body["messages"][1]
    return {**message, "notes": [note.reason for note in conversion.notes]}


def test_cited_text_flows_together_again_behind_what_was_found() -> None:
    blocks = answer("One. Two. Three.", cite("a", 4, content="Source  of\none."), cite("b", 9, content=""))
    message = replayed(blocks)
    assert message["content"] == [
        text("[web_search results]\n- A: a\n  Source of one.\n- B: b"),
        text("One. Two. Three."),
    ]
    assert message["notes"] == [
        "a server_tool_use block has no meaning for this model",
        "what a tool of Anthropic's did reaches this model as text",
        "chat completions do not carry citations of earlier text",
    ]


def test_text_without_citations_beside_it_stays_apart() -> None:
    cited = {**text("Two."), "citations": [{"type": "web_search_result_location"}]}
    parted = [text("One."), {"type": "server_tool_use", "id": "srvtoolu_1", "name": "x", "input": {"q": 1}}, cited]
    assert [part["text"] for part in replayed([*parted, text("Three.")])["content"]] == [
        "One.",
        '[x was called with {"q":1}]',
        "Two.Three.",
    ]
    assert [part["text"] for part in replayed([text("One."), text("Two.")])["content"]] == ["One.", "Two."]
    assert replayed([text("One."), cited, cited, text("Three.", cache_control=CACHED)])["content"] == [
        text("One.Two.Two.Three.", cache_control=CACHED)
    ]


def test_search_results_are_shortened() -> None:
    blocks = answer("One.", cite("a", 4, content="x" * 5000))
    assert replayed(blocks)["content"][0]["text"] == "[web_search results]\n- A: a\n  " + "x" * EXCERPT_LENGTH


@pytest.mark.parametrize("sealed", ["E", "gw1.k1.x.y", seal([], "m", KEYRING), None, 5])
def test_citation_sealed_elsewhere_is_left_closed(sealed: Any) -> None:
    result = {"type": "web_search_result", "url": "a", "title": "A", "encrypted_content": sealed}
    block = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [result]}
    assert replayed([block, text("One.")])["content"][0]["text"] == "[web_search results]\n- A: a"


# Annotations of files

READ = {"type": "file", "file": {"hash": "h1", "name": "a.pdf", "content": [{"type": "text", "text": "Page one."}]}}


@pytest.mark.parametrize("target", [DEEPSEEK, CLAUDE, GEMINI], ids=["the same model", "another model", "a third"])
@pytest.mark.covers("Media · file annotations are given back")
def test_r27_what_was_read_in_files_is_given_back(target: Target) -> None:
    """It is OpenRouter's, for all models."""
    blocks = answer("It says so.", READ, READ)
    assert [block["type"] for block in blocks] == ["text", "redacted_thinking"]
    message = replayed(blocks, target)
    assert message["annotations"] == [READ]
    assert message["content"] == "It says so."
    assert message["notes"] == []
    assert "reasoning_details" not in message


def test_annotations_of_files_alone_are_no_reasoning_that_could_be_refused() -> None:
    body: Any = {"model": "m", "max_tokens": 9, "messages": [HELLO, assistant(*answer("a", READ)), HELLO]}
    chat: Any = to_chat_request(body, DEEPSEEK, KEYRING).body
    assert apply(Adaptation("drop_reasoning"), chat)[0] is chat


def test_two_turns_of_the_assistant_in_a_row_keep_what_both_have_read() -> None:
    other = {"type": "file", "file": {"hash": "h2"}}
    messages = [HELLO, assistant(*answer("a", READ)), assistant(*answer("b", other)), HELLO]
    body: Any = {"model": "m", "max_tokens": 9, "messages": messages}
    message: Any = to_chat_request(body, DEEPSEEK, KEYRING).body["messages"][1]
    assert message["annotations"] == [READ, other]


@pytest.mark.parametrize("target", [OPENAI, to_target("deepseek-chat", COMPATIBLE)], ids=["none", "reasoning_content"])
def test_another_upstream_gets_no_annotations_of_files(target: Target) -> None:
    message = replayed(answer("It says so.", READ), target)
    assert "annotations" not in message
    assert len(message["notes"]) == 1


def test_source_too_large_to_carry_is_read_again() -> None:
    large = {"type": "file", "file": {"hash": "h2", "content": "x" * MAX_FILE_BYTES}}
    result = told(say("a"), chunk({"annotations": [READ, large]}), finish())
    assert replayed(result.blocks)["annotations"] == [READ]
    assert [note.reason for note in result.stream.notes] == [
        "the answer's annotations beyond the first could not be carried over"
    ]
    assert [block["type"] for block in told(say("a"), chunk({"annotations": [large]}), finish()).blocks] == ["text"]


@pytest.mark.parametrize(("beyond", "kept"), [(0, 2), (1, 1)])
def test_files_are_carried_up_to_a_limit(beyond: int, kept: int) -> None:
    half = {"type": "file", "file": {"hash": ""}}
    size = 2 * 1024 * 1024 // 2 - len(orjson.dumps(half))
    halves = [
        {"type": "file", "file": {"hash": letter * length}} for letter, length in (("a", size), ("b", size + beyond))
    ]
    result = told(say("a"), chunk({"annotations": halves}), finish())
    assert len(replayed(result.blocks)["annotations"]) == kept
    assert len(result.stream.notes) == (kept == 1)


def test_annotations_nested_too_deeply_are_refused() -> None:
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(UpstreamError, match="nest too deeply"):
        answer("a", {"type": "file", "file": deep})


# DeepSeek's empty list


def test_r18_an_empty_list_of_details_without_any_text_is_given_back() -> None:
    whole = completion({"role": "assistant", "content": "Hi", "reasoning_details": []})
    blocks = to_message(whole, reply(upstream_model=DEEPSEEK.model)).message["content"]
    assert replayed(blocks)["reasoning_details"] == []


@pytest.mark.parametrize(
    ("details", "model"),
    [
        pytest.param([], "acme/writer", id="other models do not ask for it"),
        pytest.param(None, DEEPSEEK.model, id="null is no list"),
        pytest.param([{"type": "reasoning.text", "text": "Hm"}], DEEPSEEK.model, id="thinking carries its own details"),
    ],
)
def test_no_block_is_made_for_an_empty_list(details: Any, model: str) -> None:
    payloads = [chunk({"reasoning_details": details}), chunk({"content": "Hi", "reasoning_details": []}), finish()]
    kinds = [block["type"] for block in told(*payloads, upstream_model=model).blocks]
    assert "redacted_thinking" not in kinds or model == DEEPSEEK.model
    assert kinds[-1] == ("redacted_thinking" if details is None else "text")


def test_an_empty_list_leaves_tags_and_stop_sequences_alone() -> None:
    empty: Json = {"reasoning_details": []}
    tagged = [chunk({"content": "<thi", **empty}), chunk({"content": "nk>Hm</think>Hi", **empty}), finish()]
    assert [block["type"] for block in told(*tagged, think_tags=True).blocks] == ["thinking", "text"]
    stopped = [chunk({"content": "One ST", **empty}), chunk({"content": "OP two", **empty}), finish()]
    assert [block["text"] for block in told(*stopped, stop_sequences=("STOP",)).blocks] == ["One "]
