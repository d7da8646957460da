"""A conversation's way into a chat request, message by message: roles, blocks, order, and what marks them."""

from base64 import b64decode, b64encode
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import orjson
import pytest

from gateway.dialects.chat.request.content import to_plain_result
from gateway.errors import InvalidRequest
from gateway.upstream.models.target import Target, to_target
from gateway.upstream.vendors.registry import OPENROUTER
from tests.support.bodies import assistant, system, user
from tests.support.conversions import (
    CACHED,
    CLAUDE,
    DEEPSEEK,
    GPT,
    HELLO,
    OPENAI,
    STRICT,
    chat_call,
    convert,
    losses,
    messages_of,
    text,
    tool,
    tool_result,
    tool_use,
)

PNG = b64encode(b"\x89PNG\r\n\x1a\n" + bytes(32)).decode()
PDF = b64encode(b"%PDF-1.4 " + bytes(32)).decode()

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
IMAGE_PART = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}

CALLED = assistant(tool_use())
CHAT_CALLED = {"role": "assistant", "content": None, "tool_calls": [chat_call()]}

SEARCH_RESULT = {
    "type": "search_result",
    "source": "https://example.com/a",
    "title": "On cats",
    "content": [text("Cats purr."), text("Cats sleep.")],
}


def document(source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "document", "source": source, **more}


def called_with(*results: dict[str, Any]) -> list[dict[str, Any]]:
    """A question, calls with the ids of the results, and the results."""
    return [HELLO, assistant(*(tool_use(result["tool_use_id"]) for result in results)), user(*results)]


TURNS = [
    pytest.param([HELLO], [HELLO], id="O1 a text stays a text"),
    pytest.param([user(text("Hello"))], [HELLO], id="O1 a lone text block is the same as a string"),
    pytest.param(
        [user(text("Hello"), text("there"))],
        [user(text("Hello"), text("there"))],
        id="several text blocks stay several parts",
    ),
    pytest.param(
        [HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Bye"}],
        [HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Bye"}],
        id="O3 turns keep their roles and their order",
    ),
    pytest.param(
        [HELLO, {"role": "user", "content": "again"}],
        [user(text("Hello"), text("again"))],
        id="O3 consecutive user messages become one",
    ),
    pytest.param(
        [
            HELLO,
            {"role": "assistant", "content": "A"},
            assistant(text("B"), tool_use()),
            user(tool_result(content="r")),
        ],
        [
            HELLO,
            {"role": "assistant", "content": [text("A"), text("B")], "tool_calls": [chat_call()]},
            {"role": "tool", "tool_call_id": "call_1", "content": "r"},
        ],
        id="O3 consecutive assistant messages become one",
    ),
    pytest.param(
        [HELLO, assistant(tool_use("a")), assistant(tool_use("b")), user(tool_result("a"), tool_result("b"))],
        [
            HELLO,
            {"role": "assistant", "content": None, "tool_calls": [chat_call("a"), chat_call("b")]},
            {"role": "tool", "tool_call_id": "a", "content": ""},
            {"role": "tool", "tool_call_id": "b", "content": ""},
        ],
        id="O3 calls of consecutive assistant messages are calls of one",
    ),
    pytest.param(
        [HELLO, assistant(text("A"), text("B"))],
        [HELLO, assistant(text("A"), text("B"))],
        id="several assistant texts stay several parts",
    ),
    pytest.param(
        called_with(tool_result(content="r")),
        [HELLO, CHAT_CALLED, {"role": "tool", "tool_call_id": "call_1", "content": "r"}],
        id="R62 an assistant message with nothing but tool calls has content null",
    ),
    pytest.param(
        [
            HELLO,
            assistant(text("Let me see"), tool_use("a", "look", b=1, a=[2, {"z": 3}]), tool_use("b", "listen")),
            user(tool_result("a"), tool_result("b")),
        ],
        [
            HELLO,
            {
                "role": "assistant",
                "content": "Let me see",
                "tool_calls": [chat_call("a", "look", '{"b":1,"a":[2,{"z":3}]}'), chat_call("b", "listen", "{}")],
            },
            {"role": "tool", "tool_call_id": "a", "content": ""},
            {"role": "tool", "tool_call_id": "b", "content": ""},
        ],
        id="O16 parallel calls keep order, and their arguments the order of keys; no arguments are {}",
    ),
    pytest.param(
        [
            HELLO,
            assistant(tool_use("a"), tool_use("b")),
            user(tool_result("a", content="1"), tool_result("b", content="2"), text("And?"), IMAGE),
        ],
        [
            HELLO,
            {"role": "assistant", "content": None, "tool_calls": [chat_call("a"), chat_call("b")]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
            user(text("And?"), IMAGE_PART),
        ],
        id="O20 tool messages come first, then one user message with the rest",
    ),
    pytest.param(
        [user(text("What is"), IMAGE, text("this?"))],
        [user(text("What is"), IMAGE_PART, text("this?"))],
        id="D03 text and images keep their order",
    ),
    pytest.param([HELLO, assistant()], [HELLO], id="an assistant message with nothing in it is not sent"),
]


@pytest.mark.parametrize(("messages", "expected"), TURNS)
@pytest.mark.covers("Messages · content as text and as blocks")
def test_messages_become_chat_messages(messages: list[Any], expected: list[Any]) -> None:
    conversion = convert(messages=messages)
    assert conversion.body["messages"] == expected
    assert conversion.notes == ()


def test_arguments_are_the_same_bytes_as_a_compact_dump_of_the_input() -> None:
    arguments = {"zürich": "é\n", "a": {"y": None, "x": 1.5}}
    (_, call, _) = messages_of(HELLO, assistant(tool_use(**arguments)), user(tool_result()))
    assert call["tool_calls"][0]["function"]["arguments"] == orjson.dumps(arguments).decode()


RESULTS = [
    pytest.param(tool_result(content="sunny"), "sunny", id="O18 text"),
    pytest.param(tool_result(content=[text("sunny")]), "sunny", id="O18 one text block"),
    pytest.param(tool_result(content=[text("a"), text("b")]), [text("a"), text("b")], id="O18 several blocks"),
    pytest.param(tool_result(), "", id="O18 absent content"),
    pytest.param(tool_result(content=""), "", id="O18 empty text"),
    pytest.param(tool_result(content=[]), "", id="O18 empty list"),
    pytest.param(tool_result(content=None), "", id="O18 null content"),
    pytest.param(tool_result(content="boom", is_error=True), "[tool error]\nboom", id="O18 a failed call says so"),
    pytest.param(tool_result(is_error=True), "[tool error]", id="O18 a failed call without content"),
    pytest.param(tool_result(content="fine", is_error=False), "fine", id="O18 is_error false is no error"),
    pytest.param(
        tool_result(content=[text("a"), text("b")], is_error=True),
        [text("[tool error]"), text("a"), text("b")],
        id="O18 a failed call with several blocks",
    ),
    pytest.param(tool_result(content=[IMAGE]), [IMAGE_PART], id="O19 an image"),
    pytest.param(
        tool_result(content=[text("see"), document({"type": "base64", "media_type": "application/pdf", "data": PDF})]),
        [
            text("see"),
            {"type": "file", "file": {"filename": "document.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
        ],
        id="O19 a PDF",
    ),
    pytest.param(
        tool_result(content=[SEARCH_RESULT]),
        [text("[Search result: On cats]\n[Source: https://example.com/a]"), text("Cats purr."), text("Cats sleep.")],
        id="a search result",
    ),
    pytest.param(
        tool_result(content=[{"type": "tool_reference", "tool_name": "look"}]),
        "[tool available: look]",
        id="a reference to a tool names it",
    ),
    pytest.param(
        tool_result(content="long", cache_control=CACHED),
        [text("long", cache_control=CACHED)],
        id="R21 a cache breakpoint on the result goes to its text",
    ),
    pytest.param(
        tool_result(content=[text("long"), IMAGE], cache_control=CACHED),
        [text("long", cache_control=CACHED), IMAGE_PART],
        id="R21 a cache breakpoint on the result goes to its last text",
    ),
    pytest.param(
        tool_result(content=[IMAGE], cache_control=CACHED),
        [{**IMAGE_PART, "cache_control": CACHED}],
        id="R21 a cache breakpoint on a result without text goes to its last part",
    ),
    pytest.param(
        tool_result(content=[text("a", cache_control=CACHED), text("b")]),
        [text("a", cache_control=CACHED), text("b")],
        id="R21 a cache breakpoint within a result stays where it is",
    ),
    pytest.param(
        tool_result(content=[text("a", cache_control=CACHED)]),
        [text("a", cache_control=CACHED)],
        id="R21 a cache breakpoint within a result of one text stays too",
    ),
    pytest.param(tool_result(cache_control=CACHED), "", id="an empty result is never a cache breakpoint"),
]


@pytest.mark.parametrize(("result", "expected"), RESULTS)
@pytest.mark.covers("Tools · results as text, blocks, errors or nothing")
def test_a_tool_result_becomes_the_content_of_a_tool_message(result: dict[str, Any], expected: Any) -> None:
    conversion = convert(messages=[HELLO, CALLED, user(result)])
    assert conversion.body["messages"] == [
        HELLO,
        CHAT_CALLED,
        {"role": "tool", "tool_call_id": "call_1", "content": expected},
    ]
    assert conversion.notes == ()


@pytest.mark.parametrize("content", ["sunny", [text("sunny")]], ids=["a string", "a block"])
@pytest.mark.parametrize("more", [{}, {"is_error": False}], ids=["alone", "said to be no error"])
def test_a_result_of_one_text_goes_the_short_way(content: Any, more: dict[str, Any]) -> None:
    message = to_plain_result(cast(Any, tool_result(content=content, **more)))
    assert message == {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}


@pytest.mark.covers("Media · images within tool results")
def test_o19_media_of_a_result_move_to_the_user_message_where_tool_messages_hold_text_only() -> None:
    results = [tool_result("a", content=[text("see"), IMAGE]), tool_result("b", content=[IMAGE])]
    chat = messages_of(*called_with(*results)[:2], user(*results, text("And?")), target=STRICT)
    assert chat[2:] == [
        {"role": "tool", "tool_call_id": "a", "content": [text("see"), text("[attached to the next user message]")]},
        {"role": "tool", "tool_call_id": "b", "content": "[attached to the next user message]"},
        user(
            text("[from the result of tool call a]"),
            IMAGE_PART,
            text("[from the result of tool call b]"),
            IMAGE_PART,
            text("And?"),
        ),
    ]


def test_the_state_of_a_browser_becomes_text() -> None:
    state = {
        "type": "browser_state",
        "tabs": [{"tab_id": "t1", "title": "Home", "url": "https://a.example", "active": True}],
        "state_changes": [{"type": "tab_opened", "tab_id": "t1"}],
    }
    chat = messages_of(*called_with(tool_result(content=[state])))
    assert chat[-1]["content"] == "[open tabs]\n- t1: Home (https://a.example) [active]\n[changes]\n- tab_opened: t1"


BLOCKS = [
    pytest.param(
        {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}},
        [{"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}],
        id="O5 an image by URL",
    ),
    pytest.param(
        {**IMAGE, "detail": "high"},
        [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "high"}}],
        id="O7 the detail of an image",
    ),
    pytest.param({**IMAGE, "cache_control": CACHED}, [{**IMAGE_PART, "cache_control": CACHED}], id="R21 on an image"),
    pytest.param(
        document({"type": "base64", "media_type": "application/pdf", "data": PDF}, title="Report"),
        [{"type": "file", "file": {"filename": "Report.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}],
        id="O8 a PDF as base64",
    ),
    pytest.param(
        document({"type": "url", "url": "https://example.com/r.pdf"}, title="r.PDF", context="From the board"),
        [
            text("[Document: r.PDF]\n[Context: From the board]"),
            {"type": "file", "file": {"filename": "r.PDF", "file_data": "https://example.com/r.pdf"}},
        ],
        id="O8 a PDF by URL, with its context",
    ),
    pytest.param(
        document({"type": "text", "media_type": "text/plain", "data": "Cats purr."}, title="Cats", context="a note"),
        [text("[Document: Cats]\n[Context: a note]\n\nCats purr.")],
        id="O9 a text document with title and context",
    ),
    pytest.param(
        document({"type": "text", "media_type": "text/plain", "data": "Cats purr."}, cache_control=CACHED),
        [text("[Document]\n\nCats purr.", cache_control=CACHED)],
        id="O9 a text document without a title",
    ),
    pytest.param(
        document({"type": "content", "content": "Cats purr."}, title="Cats"),
        [text("[Document: Cats]\n\nCats purr.")],
        id="O9 a document of one text",
    ),
    pytest.param(
        document({"type": "content", "content": [text("Cats purr."), IMAGE]}, title="Cats"),
        [text("[Document: Cats]"), text("Cats purr."), IMAGE_PART],
        id="O9 a document of text and images",
    ),
    pytest.param(
        {**SEARCH_RESULT, "cache_control": CACHED},
        [
            text("[Search result: On cats]\n[Source: https://example.com/a]"),
            text("Cats purr."),
            text("Cats sleep.", cache_control=CACHED),
        ],
        id="O9 a search result",
    ),
    pytest.param(
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        [{"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}],
        id="O10 sound",
    ),
    pytest.param(
        {"type": "video_url", "video_url": {"url": "https://example.com/v.mp4"}},
        [{"type": "video_url", "video_url": {"url": "https://example.com/v.mp4"}}],
        id="a video",
    ),
    pytest.param(text("a", cache_control=CACHED), [text("a", cache_control=CACHED)], id="R21 on a user's text"),
    pytest.param(text("a", cache_control=None), [text("a")], id="R21 null is no breakpoint"),
    pytest.param(
        text("a", prompt_cache_breakpoint={"mode": "explicit"}),
        [text("a", prompt_cache_breakpoint={"mode": "explicit"})],
        id="O41 OpenAI's own breakpoint on a text",
    ),
]


@pytest.mark.parametrize(("block", "expected"), BLOCKS)
@pytest.mark.covers("Media · PDF and text documents")
def test_a_block_becomes_parts(block: dict[str, Any], expected: list[Any]) -> None:
    conversion = convert(messages=[user(block, text("?"))])
    assert conversion.body["messages"] == [user(*expected, text("?"))]
    assert conversion.notes == ()


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png", "image/gif", "image/webp"])
@pytest.mark.covers("Media · base64 images byte for byte")
def test_o6_a_base64_image_arrives_with_the_same_bytes(media_type: str) -> None:
    raw = {
        "image/jpeg": b"\xff\xd8\xff\xe0",
        "image/png": b"\x89PNG\r\n\x1a\n",
        "image/gif": b"GIF89a",
        "image/webp": b"RIFF\x00\x00\x00\x00WEBPVP8 ",
    }[media_type] + bytes(range(256))
    source = {"type": "base64", "media_type": media_type, "data": b64encode(raw).decode()}
    ((message),) = messages_of(user({"type": "image", "source": source}))
    prefix, _, data = message["content"][0]["image_url"]["url"].partition(",")
    assert (prefix, b64decode(data)) == (f"data:{media_type};base64", raw)


NOTED_BLOCKS = [
    pytest.param(
        document({"type": "text", "media_type": "text/plain", "data": "x"}, citations={"enabled": True}),
        [("dropped", "messages.0.content.0.citations")],
        id="a document that is to be cited",
    ),
    pytest.param(
        {**SEARCH_RESULT, "citations": {"enabled": True}},
        [("dropped", "messages.0.content.0.citations")],
        id="a search result that is to be cited",
    ),
    pytest.param(
        document({"type": "text", "media_type": "text/plain", "data": "x"}, citations={"enabled": False}),
        [],
        id="a document that is not to be cited",
    ),
    pytest.param(
        {**IMAGE, "transformations": {"oversized_image": "error"}},
        [("dropped", "messages.0.content.0.transformations")],
        id="what to do with an oversized image",
    ),
    pytest.param(
        {"type": "container_upload", "file_id": "file_1"},
        [("changed", "messages.0.content.0")],
        id="a file in a container",
    ),
    pytest.param(
        text("x", citations=[{"type": "char_location"}]),
        [("dropped", "messages.0.content.0.citations")],
        id="citations of an earlier text",
    ),
]


@pytest.mark.parametrize(("block", "expected"), NOTED_BLOCKS)
def test_dropped_fields_of_a_block_are_noted(block: dict[str, Any], expected: list[Any]) -> None:
    assert losses(convert(messages=[user(block)])) == expected


REFUSED_BLOCKS = [
    pytest.param(
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        DEEPSEEK,
        "messages.0.content.0.source: files are not available here",
        id="D02 an image by file id",
    ),
    pytest.param(
        document({"type": "file", "file_id": "f"}),
        DEEPSEEK,
        "messages.0.content.0.source: files are not available here",
        id="a document by file id",
    ),
    pytest.param(
        document({"type": "url", "url": "https://example.com/r.pdf"}),
        STRICT,
        "messages.0.content.0.source: this upstream takes no document by URL",
        id="a document by URL on a strict upstream",
    ),
    pytest.param(
        {"type": "compaction", "content": "x"},
        DEEPSEEK,
        "messages.0.content.0.type: a block of type 'compaction' cannot stand here",
        id="a block that only an assistant can say",
    ),
]


@pytest.mark.parametrize(("block", "target", "message"), REFUSED_BLOCKS)
def test_a_block_that_chat_cannot_carry_is_refused_with_its_path(
    block: dict[str, Any], target: Target, message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert(target, messages=[user(block)], is_checked=False)
    assert caught.value.message.startswith(message)


SYSTEM_PROMPTS = [
    pytest.param("Be brief.", "Be brief.", id="O2 a string"),
    pytest.param([text("Be brief.")], "Be brief.", id="O2 one block"),
    pytest.param(
        [text("Be brief."), text("Be kind.")], [text("Be brief."), text("Be kind.")], id="O2 block boundaries are kept"
    ),
    pytest.param(
        [text("Be brief.", cache_control=CACHED), text("Be kind.")],
        [text("Be brief.", cache_control=CACHED), text("Be kind.")],
        id="R21 a breakpoint, with its TTL, stays on its block",
    ),
    pytest.param([text("Be brief.", cache_control=CACHED)], [text("Be brief.", cache_control=CACHED)], id="R21 lone"),
]


@pytest.mark.parametrize(("prompt", "content"), SYSTEM_PROMPTS)
@pytest.mark.covers("Messages · system prompt as text and as blocks")
def test_the_system_prompt_becomes_the_first_message(prompt: Any, content: Any) -> None:
    assert convert(system=prompt).body["messages"] == [{"role": "system", "content": content}, HELLO]


@pytest.mark.parametrize("prompt", ["", [], None])
def test_an_empty_system_prompt_is_not_sent(prompt: Any) -> None:
    assert convert(system=prompt).body["messages"] == [HELLO]


def test_o4_instructions_go_to_the_developer_role_where_the_upstream_wants_it() -> None:
    target = replace(OPENAI, system_role="developer")
    conversion = convert(target, system="Be brief.", messages=[HELLO, system(text("Now in French."))])
    assert [message["role"] for message in conversion.body["messages"]] == ["developer", "user", "developer"]


def test_claude_codes_billing_header_is_dropped_and_noted() -> None:
    header = text("x-anthropic-billing-header: cc_version=2.1.330; cch=abcde")
    conversion = convert(system=[header, text("You are Claude Code.")])
    assert conversion.body["messages"][0] == {"role": "system", "content": "You are Claude Code."}
    assert losses(conversion) == [("dropped", "system.0")]


def test_a_billing_header_alone_leaves_no_system_message() -> None:
    assert convert(system=[text("x-anthropic-billing-header: cch=1")]).body["messages"] == [HELLO]


def test_only_the_first_system_block_can_be_a_billing_header() -> None:
    prompt = [text("You are a clerk."), text("x-anthropic-billing-header: explain this")]
    assert convert(system=prompt).body["messages"][0]["content"] == prompt


@pytest.mark.covers("Messages · system messages within the conversation")
def test_a_system_message_within_the_conversation_stays_in_its_place() -> None:
    for content in ("Now in French.", [text("Now in French.")]):
        chat = messages_of(HELLO, {"role": "system", "content": content}, assistant(text("Oui")), HELLO)
        assert chat == [
            HELLO,
            {"role": "system", "content": "Now in French."},
            {"role": "assistant", "content": "Oui"},
            HELLO,
        ]


def test_a_system_message_for_one_turn_is_gone_in_the_next() -> None:
    once = system(text("Only now."), clear_at="next_user_message")
    assert messages_of(HELLO, once) == [HELLO, {"role": "system", "content": "Only now."}]
    answer, more = {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "More"}
    assert messages_of(HELLO, once, answer) == [HELLO, {"role": "system", "content": "Only now."}, answer]
    assert messages_of(HELLO, once, answer, more) == [HELLO, answer, more]
    assert messages_of(answer, once, more, is_checked=False) == [answer, more]


UPDATE = {"role": "system", "content": "", "configuration_update": {"reasoning": {"effort": "low"}}}

EFFORTS_IN_PLACE = [
    pytest.param(
        [HELLO, {"role": "system", "output_config": {"effort": "low"}}],
        [UPDATE, HELLO],
        id="R34 right before the user message it is for",
    ),
    pytest.param(
        [HELLO, system(text("Hurry."), output_config={"effort": "low"})],
        [UPDATE, HELLO, {"role": "system", "content": "Hurry."}],
        id="R34 on a separate empty message, the text staying in place",
    ),
    pytest.param(
        [HELLO, CALLED, user(tool_result(content="r")), {"role": "system", "output_config": {"effort": "low"}}],
        [HELLO, CHAT_CALLED, {"role": "tool", "tool_call_id": "call_1", "content": "r"}, UPDATE],
        id="R34 never between calls and their results",
    ),
    pytest.param(
        [HELLO, system(text("Go."), output_config={})], [HELLO, {"role": "system", "content": "Go."}], id="none"
    ),
]


@pytest.mark.parametrize(("messages", "expected"), EFFORTS_IN_PLACE)
@pytest.mark.covers("OpenRouter · effort within the conversation")
def test_an_effort_set_on_the_way_becomes_a_configuration_update(messages: list[Any], expected: list[Any]) -> None:
    assert messages_of(*messages, target=GPT) == expected


def test_an_effort_set_on_the_way_is_snapped_to_what_the_model_has() -> None:
    reasoning = replace(GPT.reasoning, supported_efforts=("low", "high"))
    messages = [HELLO, {"role": "system", "output_config": {"effort": "max"}}]
    conversion = convert(replace(GPT, reasoning=reasoning), messages=messages)
    assert conversion.body["messages"][0]["configuration_update"] == {"reasoning": {"effort": "high"}}
    assert losses(conversion) == [("changed", "messages.1.output_config.effort")]


@pytest.mark.parametrize("asked", [{}, {"output_config": {"effort": "high"}}], ids=["alone", "over the request's own"])
def test_an_effort_set_on_the_way_sets_the_whole_request_on_other_upstreams(asked: dict[str, Any]) -> None:
    messages = [HELLO, system(text("Hurry."), output_config={"effort": "low"})]
    conversion = convert(OPENAI, messages=messages, **asked)
    assert conversion.body["reasoning_effort"] == "low"
    assert conversion.body["messages"] == [HELLO, {"role": "system", "content": "Hurry."}]


def test_a_cache_breakpoint_on_a_tool_call_goes_to_the_text_before_it() -> None:
    call = {**tool_use(), "cache_control": CACHED}
    chat = messages_of(HELLO, assistant(text("Let me see"), call), user(tool_result()))
    assert chat[1]["content"] == [text("Let me see", cache_control=CACHED)]


def test_a_cache_breakpoint_on_a_lone_tool_call_is_noted() -> None:
    messages = [HELLO, assistant({**tool_use(), "cache_control": CACHED}), user(tool_result())]
    assert losses(convert(messages=messages)) == [("dropped", "messages.1.content.0.cache_control")]


@pytest.mark.parametrize(
    ("caller", "lost"),
    [
        ({"type": "direct"}, []),
        (None, []),
        ({"type": "code_execution_20250825", "tool_id": "srvtoolu_1"}, [("dropped", "messages.1.content.0.caller")]),
    ],
)
def test_the_program_that_made_a_call_is_noted(caller: Any, lost: list[Any]) -> None:
    messages = [HELLO, assistant({**tool_use(), "caller": caller}), user(tool_result())]
    assert losses(convert(messages=messages)) == lost
    assert messages_of(*messages)[1]["tool_calls"] == [chat_call()]


@pytest.mark.covers("Messages · cache_control")
def test_r21_breakpoints_are_taken_out_and_noted_once_where_the_upstream_has_none() -> None:
    conversion = convert(
        STRICT,
        system=[text("a", cache_control=CACHED), text("b")],
        messages=[user(text("c", cache_control=CACHED)), assistant(text("d")), user(text("e", cache_control=CACHED))],
        tools=[tool(cache_control=CACHED)],
    )
    assert b"cache_control" not in orjson.dumps(conversion.body)
    assert losses(conversion) == [
        ("dropped", "system.0.cache_control"),
        ("dropped", "messages.0.content.0.cache_control"),
        ("dropped", "tools.0.cache_control"),
    ]


def test_a_cache_breakpoint_keeps_an_assistants_text_apart_from_the_next() -> None:
    said = [text("a", cache_control=CACHED, citations=None), text("b")]
    marked = [text("a", cache_control=CACHED), text("b")]
    assert messages_of(HELLO, assistant(*said), HELLO)[1]["content"] == marked


def test_an_image_that_an_assistant_sent_stays_one() -> None:
    chat = messages_of(HELLO, assistant(text("Look:"), IMAGE), HELLO, is_checked=False)
    assert chat[1]["content"] == [text("Look:"), IMAGE_PART]


PREFILL = [HELLO, {"role": "assistant", "content": "The answer is"}]


@pytest.mark.covers("Messages · prefill")
def test_r61_a_prefill_goes_along_as_the_last_message() -> None:
    assert messages_of(*PREFILL, target=CLAUDE) == PREFILL


@pytest.mark.parametrize("last", [PREFILL[1], assistant(text("The answer is"))])
def test_r61_a_prefill_is_refused_in_anthropics_words_by_models_that_refuse_it(last: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        messages_of(HELLO, last, target=to_target("anthropic/claude-opus-4.6", OPENROUTER))
    assert caught.value.message == (
        "This model does not support assistant message prefill. The conversation must end with a user message."
    )


PAUSED = [
    pytest.param(
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        "[web_search results]",
        id="a server tool's result",
    ),
    pytest.param(
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "cats"}},
        '[web_search was called with {"query":"cats"}]',
        id="a server tool's call",
    ),
]


@pytest.mark.parametrize(("last", "told"), PAUSED)
def test_a_paused_turn_is_no_prefill_where_it_ends_in(last: dict[str, Any], told: str) -> None:
    target = to_target("anthropic/claude-opus-5", OPENROUTER)
    assert messages_of(HELLO, assistant(last), target=target)[-1] == {"role": "assistant", "content": told}


def test_use_of_a_server_tool_becomes_text_and_is_noted_once() -> None:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "cats"}}
    found = {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [
            {"type": "web_search_result", "title": "Cats", "url": "https://c.example", "encrypted_content": "E"},
        ],
    }
    conversion = convert(messages=[HELLO, assistant(search, found, text("Cats purr.")), HELLO])
    assert conversion.body["messages"][1]["content"] == [
        text('[web_search was called with {"query":"cats"}]'),
        text("[web_search results]\n- Cats: https://c.example"),
        text("Cats purr."),
    ]
    assert losses(conversion) == [("changed", "messages.1.content.0")]


def test_a_block_without_meaning_for_a_model_is_dropped_and_noted() -> None:
    fallback = {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}
    conversion = convert(messages=[HELLO, assistant(fallback, text("Hi")), HELLO])
    assert conversion.body["messages"][1] == {"role": "assistant", "content": "Hi"}
    assert losses(conversion) == [("dropped", "messages.1.content.0")]


def test_a_compaction_stands_for_everything_before_it() -> None:
    conversion = convert(
        system="Be brief.",
        messages=[
            HELLO,
            assistant(tool_use()),
            user(tool_result()),
            assistant(text("old"), {"type": "compaction", "content": "They met."}, text("new")),
            {"role": "user", "content": "Go on"},
        ],
    )
    assert conversion.body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "[summary of the conversation so far]\n\nThey met."},
        {"role": "assistant", "content": "new"},
        {"role": "user", "content": "Go on"},
    ]
    assert losses(conversion) == [("emulated", "messages.3.content.1")]


def test_a_compaction_stands_for_the_thinking_and_the_calls_before_it_in_its_own_message() -> None:
    before = ({"type": "thinking", "thinking": "I wonder", "signature": ""}, text("old"), tool_use())
    summary = {"type": "compaction", "content": "They met."}
    chat = messages_of(HELLO, assistant(*before, summary, text("new")), HELLO, is_checked=False)
    assert chat[1:-1] == [{"role": "assistant", "content": "new"}]


def test_a_compaction_that_only_anthropic_can_read_leaves_the_history() -> None:
    sealed = {"type": "compaction", "content": None, "encrypted_content": "E"}
    conversion = convert(messages=[HELLO, assistant(sealed, text("Hi")), {"role": "user", "content": "Go on"}])
    assert [message["content"] for message in conversion.body["messages"]] == ["Hello", "Hi", "Go on"]
    assert losses(conversion) == [("dropped", "messages.1.content.0")]


def test_the_request_is_left_as_it_was_and_its_large_parts_are_shared() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    request = {
        "system": [text("Be brief.", cache_control=CACHED)],
        "messages": [HELLO, HELLO, assistant(text("A"), tool_use(a=1)), user(tool_result(content=[IMAGE, text("x")]))],
        "tools": [{"name": "look", "input_schema": schema}],
        "provider": {"sort": "price"},
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
        "context_management": {
            "edits": [{"type": "clear_tool_uses_20250919", "trigger": {"type": "tool_uses", "value": 0}}]
        },
    }
    before = deepcopy(request)
    body = convert(**request).body
    assert request == before
    assert body["tools"][0]["function"]["parameters"] is schema
    assert body["response_format"]["json_schema"]["schema"] is schema


@pytest.mark.covers("Messages · messages of one role in a row")
def test_consecutive_messages_of_one_role_become_one_message_with_all_parts() -> None:
    """A copy of the merged list for each message would take seconds here."""
    for role in ("user", "assistant"):
        messages = [user(text("hi")), *[{"role": role, "content": "a"}] * 2000, user(text("bye"))]
        merged = convert(messages=messages).body["messages"]
        sizes = [len(message["content"]) for message in merged if isinstance(message["content"], list)]
        assert max(sizes) >= 2000


def test_merging_leaves_the_request_as_it_was() -> None:
    parts = [text("one"), text("two")]
    messages = [user(*parts), user(text("three")), user(text("four"))]
    convert(messages=messages)
    convert(messages=messages)
    assert parts == [text("one"), text("two")]
    assert len(messages[0]["content"]) == 2


def test_more_edits_than_can_be_meant_are_refused() -> None:
    edits = [{"type": "clear_tool_uses_20250919"}] * 9
    with pytest.raises(InvalidRequest, match="at most 8 edits"):
        convert(messages=[user(text("hi"))], context_management={"edits": edits})


def test_conversation_of_reasoning_that_is_dropped_is_refused() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "EqRaw=="}
    with pytest.raises(InvalidRequest, match="none of them has content"):
        convert(OPENAI, messages=[{"role": "assistant", "content": [thought]}], system="Be brief.", is_checked=False)
