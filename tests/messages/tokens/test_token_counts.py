"""Counting a prompt in full: what is counted, how far it errs, and that more text never counts less."""

import base64
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages.tokens.estimate import TokenEstimate, estimate_by_size
from gateway.messages.tokens.media import LENGTH_PER_PAGE, PDF_PIECE, VIDEO_TOKENS, image_size
from gateway.messages.tokens.profiles import (
    CLAUDE,
    GENERAL,
    OLDER_CLAUDE,
    OPENAI,
    SINGLE_DIGITS,
    Profile,
    to_profile,
)
from gateway.messages.tokens.prompt import PromptTally, prompt_estimate
from gateway.messages.tokens.text import PIECE, Reading, text_steps
from tests.messages.tokens.table import PROFILES, errors, table, text_tokens, total_errors
from tests.support.bodies import assistant, body, call, document, image, image_at, result, system, text, tool, user

WORDS = "Seventeen lanterns were hung along the quay before the ferry came in."
MORE = " Nobody had counted them."


def count(request: dict[str, Any], profile: Profile = CLAUDE) -> int:
    return prompt_estimate(request, profile).tokens()


# How far it errs


@pytest.mark.parametrize("kind", errors())
def test_one_kind_of_text_is_counted_to_within_a_third(kind: str) -> None:
    assert max(map(abs, errors()[kind])) < 1 / 3


@pytest.mark.parametrize("column", range(len(PROFILES)), ids=lambda column: PROFILES[column].name)
def test_the_mean_error_over_kinds_of_text_is_below_a_tenth_and_the_whole_is_nearly_right(column: int) -> None:
    rows = list(errors().values())
    assert sum(abs(row[column]) for row in rows) / len(rows) < 0.10
    assert abs(total_errors()[column]) < 0.03


def test_the_documentation_shows_the_errors_as_they_are() -> None:
    shown = (Path(__file__).parents[3] / "docs" / "tokens.md").read_text("utf-8")
    assert "\n".join(table()) in shown


NOTHING = Reading((), (), 0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("reading", "words", "expected"),
    [
        (replace(NOTHING, word=1.0), "a bc, longer2words x", 5),
        (replace(NOTHING, long_word=1.0), "four fives SixSix seven7n", 3),
        (replace(NOTHING, number=1.0), "1 22 a3b 4.5", 5),
        (replace(NOTHING, mark=1.0), "a(b) == c, ![]", 5),
        (replace(NOTHING, long_mark=1.0), "a(b) == c, ![]", 2),
        (replace(NOTHING, ascii=((b"aA", 1.0),)), "camelCase getHTTPCode UP", 2),
        (replace(NOTHING, ascii=((b"a", 1.0), (b"A", 10.0))), "Ab cD", 22),
        (replace(NOTHING, ascii=((b"n", 1.0), (b" ", 10.0))), "a b\n\tc\r\n\x7f", 42),
        (replace(NOTHING, wide=((b"l", 1.0), (b"r", 10.0), (b"c", 100.0))), "aéüжж漢", 122),
        (replace(NOTHING, wide=((b"e", 1.0), (b"K", 10.0), (b"k", 100.0))), "😀한かナ", 211),
        (replace(NOTHING, wide=((b"h", 1.0), (b"i", 10.0), (b"j", 100.0))), "אعกა", 112),
        (replace(NOTHING, wide=((b"g", 1.0), (b"s", 10.0), (b"F", 100.0))), "λ→ｆ", 111),
    ],
)
def test_what_a_reading_looks_for(reading: Reading, words: str, expected: int) -> None:
    assert text_tokens(words, reading) == expected


@pytest.mark.parametrize(
    ("model", "profile"),
    [
        ("anthropic/claude-sonnet-4.5", OLDER_CLAUDE),
        ("anthropic/claude-opus-4.7", CLAUDE),
        ("~anthropic/claude-sonnet-latest", CLAUDE),
        ("claude-haiku-4-5-20251001", OLDER_CLAUDE),
        ("openai/gpt-5.5", OPENAI),
        ("openai/gpt-oss-120b:free", OPENAI),
        ("qwen/qwen3-coder", SINGLE_DIGITS),
        ("google/gemini-3-pro", SINGLE_DIGITS),
        ("mistralai/mistral-large", SINGLE_DIGITS),
        ("deepseek/deepseek-v4", GENERAL),
        ("sim/echo", GENERAL),
    ],
)
def test_the_name_of_the_upstreams_model_decides_how_text_is_counted(model: str, profile: Profile) -> None:
    assert to_profile(model) is profile


# More never counts less

ANY_TEXT = st.text(max_size=200)


@given(ANY_TEXT, st.text(min_size=1, max_size=50), st.sampled_from(PROFILES))
def test_a_text_that_grows_counts_more(start: str, more: str, profile: Profile) -> None:
    assert text_tokens(start + more, profile.reading) > text_tokens(start, profile.reading)


@given(st.lists(ANY_TEXT, max_size=4), ANY_TEXT, st.sampled_from(PROFILES))
def test_a_further_message_counts_more(texts: list[str], more: str, profile: Profile) -> None:
    messages = [user(words) for words in texts]
    assert count({"messages": [*messages, user(more)]}, profile) > count({"messages": messages}, profile)


@given(st.integers(PIECE - 3, PIECE + 3), st.text("aB1. \né漢", min_size=1, max_size=6))
def test_growing_across_the_end_of_a_piece_counts_more(length: int, more: str) -> None:
    start = ("ab1. Cé" * PIECE)[:length]
    assert text_tokens(start + more, CLAUDE.reading) > text_tokens(start, CLAUDE.reading)


def test_a_long_text_is_read_in_steps_that_add_up() -> None:
    words = (WORDS + "\n") * 20_000
    steps = list(text_steps(words, CLAUDE.reading))
    assert len(steps) == -(-len(words) // PIECE)
    assert sum(steps) == pytest.approx(20_000 * text_tokens(WORDS + "\n", CLAUDE.reading), rel=0.001)


def test_a_lone_surrogate_is_counted_like_any_other_character() -> None:
    assert text_tokens("\ud800", CLAUDE.reading) > 0


# What is counted

ROLES: dict[str, Any] = {
    "a string": lambda words: body(messages=[user(words)]),
    "a text block": lambda words: body(messages=[user("a", words)]),
    "a system prompt": lambda words: body(system=words),
    "a block of the system prompt": lambda words: body(system=[text(words)]),
    "instructions on the way": lambda words: body(messages=[user("hi"), system(words)]),
    "an assistant's turn": lambda words: body(messages=[user("hi"), assistant(words), user("go on")]),
    "a tool's name": lambda words: body(tools=[tool(words)]),
    "a tool's description": lambda words: body(tools=[tool(description=words)]),
    "a tool's schema": lambda words: body(tools=[tool(input_schema={"type": "object", "title": words})]),
    "a tool's examples": lambda words: body(tools=[tool(input_examples=[{"a": words}])]),
    "the name of a typed tool": lambda words: body(tools=[{"type": "bash_20250124", "name": words}]),
    "a server tool": lambda words: body(
        tools=[{"type": "web_search_20250305", "name": "web_search", "allowed_domains": [words]}]
    ),
    "the input of a call": lambda words: body(messages=[user("hi"), assistant(call(input={"a": words}))]),
    "the name of a call": lambda words: body(messages=[user("hi"), assistant(call(name=words))]),
    "a call of a server tool": lambda words: body(
        messages=[user("hi"), assistant({"type": "server_tool_use", "id": "s", "name": "x", "input": {"q": words}})]
    ),
    "a result that is a string": lambda words: body(messages=[user(result(content=words))]),
    "a result's block": lambda words: body(messages=[user(result(content=[text(words)]))]),
    "a result from Anthropic's own tools": lambda words: body(
        messages=[assistant({"type": "web_fetch_tool_result", "tool_use_id": "s", "content": {"text": words}})]
    ),
    "an MCP result": lambda words: body(
        messages=[assistant({"type": "mcp_tool_result", "tool_use_id": "s", "content": [text(words)]})]
    ),
    "thinking": lambda words: body(messages=[assistant({"type": "thinking", "thinking": words, "signature": "s"})]),
    "sealed thinking": lambda words: body(messages=[assistant({"type": "redacted_thinking", "data": words})]),
    "thinking that is only a signature": lambda words: body(
        messages=[assistant({"type": "thinking", "thinking": "", "signature": words})]
    ),
    "a document of text": lambda words: body(
        messages=[user(document(type="text", media_type="text/plain", data=words))]
    ),
    "a document of blocks": lambda words: body(messages=[user(document(type="content", content=[text(words)]))]),
    "a document's title": lambda words: body(
        messages=[user({**document(type="text", media_type="text/plain", data="a"), "title": words})]
    ),
    "a document's context": lambda words: body(
        messages=[user({**document(type="text", media_type="text/plain", data="a"), "context": words})]
    ),
    "a search result": lambda words: body(
        messages=[user({"type": "search_result", "source": "s", "title": "t", "content": [text(words)]})]
    ),
    "a search result's title": lambda words: body(
        messages=[user({"type": "search_result", "source": "s", "title": words, "content": []})]
    ),
    "a summary of what came before": lambda words: body(messages=[assistant({"type": "compaction", "content": words})]),
    "a tool added on the way": lambda words: body(
        messages=[user("a"), system({"type": "tool_addition", "tool": {"type": "tool_reference", "name": words}})]
    ),
    "a block that no rule knows": lambda words: body(messages=[user({"type": "to_come", "anything": [words]})]),
    "the schema of an output format": lambda words: body(
        output_config={"format": {"type": "json_schema", "schema": {"title": words}}}
    ),
    "the schema of the older output format": lambda words: body(
        output_format={"type": "json_schema", "schema": {"title": words}}
    ),
}


@pytest.mark.parametrize("place", ROLES)
def test_more_words_count_more_in(place: str) -> None:
    request = ROLES[place]
    counts = [count(request(words)) for words in (WORDS, WORDS + MORE, WORDS + MORE * 20)]
    assert counts == sorted(counts)
    assert counts[2] - counts[1] >= 15 * (counts[1] - counts[0]) > 0


@pytest.mark.parametrize("place", ROLES)
def test_a_cache_breakpoint_costs_nothing(place: str) -> None:
    request = ROLES[place](WORDS)
    before = count(request)
    for block in [*blocks_in(request["messages"]), *(request.get("tools") or ())]:
        block["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
    assert count(request) == before


def blocks_in(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [block for message in messages if isinstance(message["content"], list) for block in message["content"]]


def test_settings_of_the_reply_cost_nothing() -> None:
    asked = {"max_tokens": 64_000, "temperature": 1.0, "thinking": {"type": "adaptive"}, "tool_choice": None}
    assert count(body(**asked)) == count(body())


def test_the_first_tool_brings_the_prompt_that_comes_with_tools() -> None:
    assert count(body(tools=[tool()])) - count(body()) > CLAUDE.tool_prompt
    assert count(body(tools=[tool(), tool()])) - count(body(tools=[tool()])) < 50


@pytest.mark.parametrize(
    ("typed", "least"),
    [
        ({"type": "bash_20250124", "name": "bash"}, 60),
        ({"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}, 200),
        ({"type": "computer_20250124", "name": "computer", "display_width_px": 800, "display_height_px": 600}, 200),
        ({"type": "computer_toolset_20260801"}, 500),
    ],
)
def test_a_tool_known_by_its_type_counts_with_the_schema_it_gets(typed: dict[str, Any], least: int) -> None:
    assert count(body(tools=[typed]), GENERAL) - count(body(), GENERAL) >= least


def test_a_screen_without_a_size_is_counted_as_it_stands() -> None:
    assert count(body(tools=[{"type": "computer_20250124", "name": "computer"}])) > count(body())


# Media


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(width: int, height: int) -> str:
    return encoded(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(40))


def gif(width: int, height: int) -> str:
    return encoded(b"GIF89a" + struct.pack("<HH", width, height) + bytes(40))


def jpeg(width: int, height: int, before: bytes = b"") -> str:
    frame = b"\xff\xc2" + struct.pack(">HBHH", 17, 8, height, width) + bytes(10)
    return encoded(b"\xff\xd8" + before + frame + bytes(40))


def webp(kind: bytes, payload: bytes) -> str:
    return encoded(b"RIFF\x00\x00\x00\x00WEBP" + kind + b"\x00\x00\x00\x00" + payload + bytes(40))


EXIF = b"\xff\xe1" + struct.pack(">H", 40_000) + bytes(39_998)
LOSSLESS = (799 | 599 << 14).to_bytes(4, "little")

IMAGES = {
    "PNG": png(800, 600),
    "GIF": gif(800, 600),
    "JPEG": jpeg(800, 600),
    "JPEG after a thumbnail": jpeg(800, 600, EXIF),
    "JPEG after fill bytes and a marker without a length": jpeg(800, 600, b"\xff\xd0\xff\xff\xff"[:4]),
    "WebP with losses": webp(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", 800, 600)),
    "WebP without losses": webp(b"VP8L", b"\x2f" + LOSSLESS),
    "WebP extended": webp(b"VP8X", bytes(4) + (799).to_bytes(3, "little") + (599).to_bytes(3, "little")),
}


@pytest.mark.parametrize("form", IMAGES)
def test_the_size_of_an_image_is_read_from_its_header(form: str) -> None:
    assert image_size(IMAGES[form]) == (800, 600)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("", id="nothing"),
        pytest.param("AAAA", id="no image"),
        pytest.param("no base64!", id="no base64"),
        pytest.param(encoded(b"\x89PNG\r\n\x1a\n"), id="a PNG that ends"),
        pytest.param(encoded(b"\xff\xd8\xff\xe1\xff\xff"), id="a JPEG that ends"),
        pytest.param(encoded(b"\xff\xd8" + bytes(40)), id="a JPEG that is broken"),
        pytest.param(webp(b"VP8Z", bytes(20)), id="an unknown WebP"),
    ],
)
def test_a_header_that_cannot_be_read_costs_a_full_sized_image(data: str) -> None:
    assert image_size(data) is None
    assert prompt_estimate(body(messages=[user(image(data))]), CLAUDE).media == CLAUDE.image_limit


@pytest.mark.parametrize(
    ("width", "height", "profile", "tokens"),
    [
        pytest.param(1000, 1000, OLDER_CLAUDE, 1296, id="36 by 36 patches"),
        pytest.param(200, 200, OLDER_CLAUDE, 64, id="a part of a patch counts whole"),
        pytest.param(1, 1, OLDER_CLAUDE, 1, id="a pixel"),
        pytest.param(0, 0, OLDER_CLAUDE, 1, id="no pixel at all"),
        pytest.param(1920, 1080, CLAUDE, 2691, id="high resolution is kept"),
        pytest.param(1920, 1080, OLDER_CLAUDE, 1568, id="and was scaled down before"),
        pytest.param(8000, 100, OLDER_CLAUDE, 56, id="a long one is scaled by its longer side"),
        pytest.param(8000, 8000, CLAUDE, 4784, id="nothing costs more than the limit"),
    ],
)
def test_an_image_costs_a_token_for_each_patch(width: int, height: int, profile: Profile, tokens: int) -> None:
    estimate = prompt_estimate(body(messages=[user(image(png(width, height)))]), profile)
    assert (estimate.media, estimate.text < 10) == (tokens, True)


def test_an_image_costs_the_same_in_a_tool_result() -> None:
    inside = prompt_estimate(body(messages=[user(result(content=[image(png(1000, 1000))]))]), CLAUDE)
    assert inside.media == 1296


PAGE, PAGES = b"<< /Type /Page /Parent 2 0 R >>", b"<< /Type /Pages /Count 3 >>"


def pdf_tokens(data: bytes) -> float:
    source = {"type": "base64", "media_type": "application/pdf", "data": encoded(data)}
    return prompt_estimate(body(messages=[user(document(**source))]), CLAUDE).media


@pytest.mark.parametrize(
    ("data", "pages"),
    [
        pytest.param(b"%PDF-1.4" + PAGES + PAGE * 3, 3, id="three pages and their list"),
        pytest.param(b"%PDF-1.4" + (PAGES + PAGE).replace(b" /Page", b"/Page"), 1, id="written without a space"),
        pytest.param(b"%PDF-1.7 compressed", 1, id="none to be found in a short one"),
        pytest.param(b"%PDF-1.7" + bytes(LENGTH_PER_PAGE * 3 // 4 * 4), 5, id="none to be found in a long one"),
    ],
)
def test_a_pdf_costs_by_its_pages(data: bytes, pages: int) -> None:
    assert pdf_tokens(data) == pages * CLAUDE.page


@pytest.mark.parametrize("shift", range(-len(PAGE + PAGES + PAGE), 1))
def test_pages_are_found_once_wherever_the_pieces_are_cut(shift: int) -> None:
    before = bytes(PDF_PIECE // 4 * 3 + shift)
    assert pdf_tokens(PAGE + before + PAGES + PAGE) == 2 * CLAUDE.page


def tally_of(block: dict[str, Any]) -> PromptTally:
    tally = PromptTally(CLAUDE)
    list(tally.read(body(messages=[user(block)])))
    return tally


@pytest.mark.parametrize(
    ("block", "media", "is_assumed"),
    [
        pytest.param(image_at("https://example.com/a.png"), CLAUDE.image_limit, True, id="an image by URL"),
        pytest.param(document(type="url", url="https://example.com/a.pdf"), CLAUDE.page, True, id="a PDF by URL"),
        pytest.param({"type": "video_url", "video_url": {"url": "https://e.com/v"}}, VIDEO_TOKENS, True, id="a video"),
        pytest.param({"type": "input_audio", "input_audio": {"data": "A" * 1400, "format": "wav"}}, 1, False, id="wav"),
        pytest.param({"type": "input_audio", "input_audio": {"data": "A" * 1400, "format": "mp3"}}, 2, False, id="mp3"),
        pytest.param(image(png(1000, 1000)), 1296, False, id="an image that can be measured"),
    ],
)
def test_what_is_not_known_of_media_is_assumed_and_said(block: dict[str, Any], media: int, is_assumed: bool) -> None:
    tally = tally_of(block)
    assert (tally.media, tally.assumed) == (media, media if is_assumed else 0)


# Estimates


@pytest.mark.parametrize(
    ("estimate", "ratio", "tokens"),
    [
        pytest.param(TokenEstimate(0.0), 1.0, 1, id="nothing is 1, since 0 reads as missing"),
        pytest.param(TokenEstimate(10.2), 1.0, 11, id="a part of a token is one"),
        pytest.param(TokenEstimate(100.0, 50.0), 1.2, 170, id="a ratio corrects the text alone"),
    ],
)
def test_an_estimate_comes_to(estimate: TokenEstimate, ratio: float, tokens: int) -> None:
    assert estimate.tokens(ratio) == tokens


def test_by_size_media_is_taken_out_of_the_text() -> None:
    picture = png(1000, 1000)
    request = body(messages=[user(image(picture), result(content=[image(picture)]))])
    assert estimate_by_size(2 * len(picture) + 2600, request, CLAUDE) == TokenEstimate(1000.0, 2 * 1296)


def test_by_size_a_pdf_costs_by_its_length_and_a_body_smaller_than_its_media_has_no_text() -> None:
    request = body(messages=[user(document(type="base64", media_type="application/pdf", data="A" * 50_000))])
    assert estimate_by_size(100, request, CLAUDE) == TokenEstimate(0.0, 2000.0)


def test_both_ways_of_counting_agree_roughly_on_prose() -> None:
    request = body(messages=[user(WORDS * 200)])
    by_size, in_full = estimate_by_size(len(WORDS) * 200, request, CLAUDE), prompt_estimate(request, CLAUDE)
    assert by_size.text == pytest.approx(in_full.text, rel=0.25)
