from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.response.filters.think_tags import ThinkTags
from tests.support.streams import DONE, chunk, convert, finish, reply, say, sse


class Pieces:
    """A target that notes what it is given, neighbours of one kind joined."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def _add(self, kind: str, text: str) -> None:
        if self.seen and self.seen[-1][0] == kind:
            self.seen[-1] = (kind, self.seen[-1][1] + text)
        else:
            self.seen.append((kind, text))

    def add_text(self, text: str) -> None:
        assert text
        self._add("text", text)

    def add_thinking(self, text: str, entries: Any) -> None:
        self._add("thinking", text)

    def add_tool(self, index: int | None, call_id: str, name: str, fragment: str) -> None:
        self._add("tool", fragment)

    def add_image(self, block: Any) -> None:
        self._add("image", block["source"]["url"])

    def lose(self, what: str) -> None:
        self._add("lost", what)

    def close(self) -> None:
        self.seen.append(("end", ""))


def test_a_closing_tag_behind_thinking_that_was_taken_out_goes() -> None:
    pieces = Pieces()
    tags = ThinkTags(pieces)
    tags.add_thinking("a", ())
    tags.add_text("</think>\n\nb")
    tags.close()
    assert pieces.seen == [("thinking", "a"), ("text", "b"), ("end", "")]


def told(*texts: str) -> list[tuple[str, str]]:
    pieces = Pieces()
    tags = ThinkTags(pieces)
    for text in texts:
        tags.add_text(text)
    tags.close()
    assert pieces.seen.pop() == ("end", "")
    return pieces.seen


@pytest.mark.parametrize(
    ("texts", "pieces"),
    [
        pytest.param(["<think>a</think>b"], [("thinking", "a"), ("text", "b")], id="a leading tag is thinking"),
        pytest.param(["\n <think>a</think>\n\nb"], [("thinking", "a"), ("text", "b")], id="space around the tag goes"),
        pytest.param(["<think>a</think>", "\n", "\nb"], [("thinking", "a"), ("text", "b")], id="also cut within it"),
        pytest.param(["<think>a</think>\n"], [("thinking", "a")], id="nothing but space after the tag is nothing"),
        pytest.param(["a <think>b</think>"], [("text", "a <think>b</think>")], id="a tag later on is text"),
        pytest.param(["<thou", "ght>a</tho", "ught>b"], [("thinking", "a"), ("text", "b")], id="Gemini's"),
        pytest.param(["<reasoning>a</reasoning>b"], [("thinking", "a"), ("text", "b")], id="gpt-oss on Bedrock"),
        pytest.param(["[THINK]a[/THINK]b"], [("thinking", "a"), ("text", "b")], id="Magistral's"),
        pytest.param(["\n</thi", "nk>\n\nb"], [("text", "b")], id="a closing tag alone goes"),
        pytest.param(["[THE", " END]"], [("text", "[THE END]")], id="a bracket that begins no tag is text"),
        pytest.param(["<think>a</think>b<think>c"], [("thinking", "a"), ("text", "b<think>c")], id="a second is text"),
        pytest.param(["<think>a"], [("thinking", "a")], id="a tag that is never closed is thinking"),
        pytest.param(["<thin"], [("text", "<thin")], id="half a tag at the end is text"),
        pytest.param(["<think></think>b"], [("text", "b")], id="empty thinking is none"),
        pytest.param(["<think>a</thin"], [("thinking", "a</thin")], id="half a closing tag at the end is thinking"),
        pytest.param(["<thinking>a"], [("text", "<thinking>a")], id="another tag is text"),
        pytest.param([" x"], [("text", " x")], id="leading white space of text stays"),
    ],
)  # fmt: skip
def test_only_a_leading_tag_is_thinking(texts: list[str], pieces: list[tuple[str, str]]) -> None:
    assert told(*texts) == pieces


@given(st.text(alphabet="<think>/ab\n", max_size=40), st.data())
def test_the_cuts_between_pieces_change_nothing(text: str, data: st.DataObject) -> None:
    whole = "<think>" + text
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    parts = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert told(*parts) == told(whole)


@pytest.mark.parametrize("place", range(1, len("<think>a</think>b")))
def test_a_tag_cut_anywhere_is_a_tag(place: int) -> None:
    whole = "<think>a</think>b"
    assert told(whole[:place], whole[place:]) == [("thinking", "a"), ("text", "b")]


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        pytest.param("<think>hm", [("thinking", "hm")], id="thinking"),
        pytest.param("<think>a < b", [("thinking", "a < b")], id="a bracket before something else"),
        pytest.param("<think>a</thigh", [("thinking", "a</thigh")], id="what begins like the closing tag and is none"),
        pytest.param("<think>a<", [("thinking", "a")], id="all but a bracket"),
        pytest.param("<think>a</think", [("thinking", "a")], id="all but the closing tag without its end"),
        pytest.param("<think>a</think> b", [("thinking", "a"), ("text", "b")], id="text behind the tag"),
        pytest.param("<b>", [("text", "<b>")], id="text that begins with another tag"),
        pytest.param("\n<thin", [], id="nothing of what may be the opening tag"),
    ],
)
def test_all_goes_on_at_once_but_what_may_be_a_tag(text: str, passed: list[tuple[str, str]]) -> None:
    pieces = Pieces()
    ThinkTags(pieces).add_text(text)
    assert pieces.seen == passed


def test_other_pieces_end_the_watch_and_release_what_is_held() -> None:
    pieces = Pieces()
    tags = ThinkTags(pieces)
    tags.add_text("<thi")
    tags.add_tool(0, "id", "name", "{}")
    tags.add_text("<think>x")
    tags.lose("audio")
    assert pieces.seen == [("text", "<thi"), ("tool", "{}"), ("text", "<think>x"), ("lost", "audio")]
    assert tags.is_over


@pytest.mark.parametrize("reasoning", [("a", ()), ("", ({"type": "reasoning.encrypted", "data": "x"},))])
def test_reasoning_of_the_upstreams_own_ends_the_watch(reasoning: tuple[str, Any]) -> None:
    pieces = Pieces()
    tags = ThinkTags(pieces)
    tags.add_thinking(*reasoning)
    tags.add_text("<think>b</think>")
    assert pieces.seen == [("thinking", reasoning[0]), ("text", "<think>b</think>")]


def test_an_image_ends_the_watch() -> None:
    pieces = Pieces()
    tags = ThinkTags(pieces)
    tags.add_text("<thi")
    tags.add_image({"type": "image", "source": {"type": "url", "url": "u"}})
    tags.add_text("<think>b</think>")
    assert pieces.seen == [("text", "<thi"), ("image", "u"), ("text", "<think>b</think>")]


def test_empty_reasoning_does_not_end_the_watch() -> None:
    pieces = Pieces()
    tags = ThinkTags(pieces)
    tags.add_thinking("", ())
    tags.add_text("<think>b</think>")
    assert pieces.seen == [("thinking", "b")]


@pytest.mark.parametrize("cut", range(1, len("<think>\nHm.")))
def test_a_tag_at_the_start_of_reasoning_details_is_left_out(cut: int) -> None:
    """vLLM 0.32 under load, asked by Responses."""
    entry = {"type": "reasoning.text", "id": "rs_1", "index": 0}
    whole = "<think>\nHm."
    deltas = [chunk({"reasoning_details": [{**entry, "text": part}]}) for part in (whole[:cut], whole[cut:], " So.")]
    stream = sse(*deltas, say("Yes."), finish()) + DONE
    blocks = convert(stream, reply(think_tags=True)).blocks
    assert [block.get("thinking", "").strip() for block in blocks] == ["Hm. So.", ""]


@pytest.mark.parametrize(
    ("text", "thought", "said"),
    [
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", "a", "b"),
        ("<|start|>assistant<|channel|>final<|message|>b", "", "b"),
        ("<|channel|>final<|message|>b", "", "b"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>", "a", "<|start|>"),
        ("<|start|>b", "", "<|start|>b"),
        ("◁think▷a◁/think▷ b", "a", "b"),
    ],
)
def test_marks_around_channels_are_no_text(text: str, thought: str, said: str) -> None:
    expected = [pair for pair in (("thinking", thought), ("text", said)) if pair[1]]
    assert told(text) == told(*text) == expected
