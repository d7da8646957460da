"""Answers of vendors, engines and proxies that users reported from the middle of 2026 on."""

from typing import Any, Final

import orjson

from tests.e2e.vendor_answers import messages as native
from tests.e2e.vendor_answers import responses as items
from tests.e2e.vendor_answers.engines import marked, reason
from tests.e2e.vendor_answers.script import (
    BOTH,
    CALL,
    CALLED,
    CITY,
    HELLO,
    PARIS,
    ROLE,
    STOP,
    THOUGHT,
    USAGE,
    Json,
    Meant,
    Script,
    call,
    calls,
    chunk,
    completion,
    peculiar,
    refused,
    say,
    streamed,
    whole,
)
from tests.e2e.vendor_answers.shapes import raw


def glued(cut: str, payload: Json) -> bytes:
    """A stale piece of an event, and the next event on the same line."""
    return b"data: " + cut.encode() + b"data: " + orjson.dumps(payload) + b"\n\n"


def m3(*lines: str) -> str:
    return "\n".join([f"]<]minimax[>[{line}" for line in lines])


def m3_call(city: str) -> tuple[str, ...]:
    return ('<invoke name="get_weather">', f"<city>{city}]<]minimax[>[</city>", "</invoke>")


STALE: Final = '{"id":"20260430204055","created":1777552855,"object":"chat.completion.chunk","model":"glm-5.1","ch'
OVERLOAD: Final = "Our servers are currently overloaded. Please try again later."
THINKING_M3: Final = "<mm:think>Hm</mm:think>"

CHAT: Final = (
    # opencode#23442, kilocode#9432
    streamed("glm: an event's stale beginning in front of the text", HELLO, glued(STALE, say("Hello")), STOP),
    streamed("glm: an event's stale beginning within the text", HELLO, ROLE, say("Hel"), glued(STALE, say("lo")), STOP),
    streamed(
        "glm: an event's stale beginning up to the delta",
        THOUGHT,
        glued(STALE[:-2] + '"choices":[{"index":0,"delta":{"role', reason("Hm")),
        say("Hello"),
        STOP,
    ),
    streamed(
        "glm: an event's stale beginning within arguments",
        CALL,
        calls(call('{"city":', 0, "a", "get_weather")),
        glued(STALE, calls(call(' "Paris"}', 0))),
        CALLED,
    ),
    streamed(
        "proxy: an event with text is cut off by the next",
        Meant(error=502),
        ROLE,
        glued('{"id":"c1","choices":[{"index":0,"delta":{"content":"Hel', say("lo")),
        STOP,
    ),
    # MiniMax-M3: vllm#46042, ai-dynamo/frontend-crates#83
    *marked("minimax m3: thinking in its tags", THINKING_M3 + "Hello", THOUGHT),
    *marked("minimax m3: a call", m3("<tool_call>", *m3_call("Paris"), "</tool_call>")),
    *marked("minimax m3: two calls", m3("<tool_call>", *m3_call("Paris"), *m3_call("London"), "</tool_call>"), BOTH),
    *map(
        peculiar,
        marked(
            "minimax m3: a thought, then a call",
            THINKING_M3 + "\n\n" + m3("<tool_call>", *m3_call("Paris"), "</tool_call>"),
            Meant("", "Hm", (PARIS,), "tool_use"),
        ),
    ),
    *marked("minimax m3: a call without its last tag", m3("<tool_call>", *m3_call("Paris"))),
    # openclaw#97994
    streamed("deepseek 4: no reason behind a call", CALL, calls(call(CITY, 0, "a", "get_weather"))),
    streamed("deepseek 4: usage but no reason behind a call", CALL, calls(call(CITY, 0, "a", "get_weather")), USAGE),
    # pi#8473
    streamed("opencode go: nothing but a role", Meant(error=502), ROLE),
    # pi#2142, mlx-lm#782
    streamed("lmstudio: the reason is end", HELLO, ROLE, say("Hello"), chunk({}, "end")),
    whole("lmstudio: the reason is end", HELLO, completion({"content": "Hello"}, "end")),
    streamed("mlx: the reason is tool_call", CALL, calls(call(CITY, 0, "a", "get_weather")), chunk({}, "tool_call")),
    whole(
        "mlx: the reason is tool_call",
        CALL,
        completion({"content": "", "tool_calls": [call(CITY, None, "a", "get_weather")]}, "tool_call"),
    ),
    # opencode#5139
    streamed("lmstudio: the reason of a call, and none", HELLO, ROLE, say("Hello"), CALLED),
    # copilot-cli#4196, ds4#13
    streamed(
        "mlx: thinking, and text in the same chunk",
        THOUGHT,
        chunk({"reasoning_content": "Hm", "content": "Hello"}),
        STOP,
    ),
    # googleapis/python-genai#2868
    streamed(
        "gemini: the reason of a text beside a whole call",
        CALL,
        chunk({"role": "assistant", "tool_calls": [call(CITY, 0, "a", "get_weather")]}, "stop"),
    ),
    # vercel/ai#19178
    streamed(
        "mistral: calls in pieces without ids",
        CALL,
        calls({**call("", 0, "a", "get_weather")}),
        calls(call('{"city"', 0)),
        calls(call(': "Paris"}', 0)),
        CALLED,
    ),
    # new-api#6643
    streamed(
        "new-api: a limit by its code alone",
        Meant(error=429),
        {"error": {"message": "rate limited", "code": "rate_limit_exceeded"}},
    ),
    # qwengate#68
    streamed(
        "qwen: no success",
        Meant(error=429),
        {
            "success": False,
            "request_id": "r",
            "data": {"code": "RateLimited", "details": "You have reached your limit", "num": 4},
        },
    ),
    whole(
        "qwen: no success",
        Meant(error=429),
        {
            "success": False,
            "request_id": "r",
            "data": {"code": "RateLimited", "details": "You have reached your limit", "num": 4},
        },
    ),
    # deepseek's documents: usage is in the last chunk, beside a list of choices that is not empty
    streamed(
        "deepseek 4: usage beside the reason",
        Meant("Hello", output=4),
        ROLE,
        say("Hello"),
        chunk({"content": "", "reasoning_content": None}, "stop", usage={"prompt_tokens": 9, "completion_tokens": 4}),
    ),
)

CALLING: Final = (native.start(native.CALL_BLOCK), native.arguments(CITY), native.stop())
TOLD: Final = (native.start(native.TEXT_BLOCK), native.text("Hello"), native.stop())
NO_SEQUENCE: Final = native.event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 4})
WITHOUT_START: Final = (
    native.event("content_block_start", index=0, content_block=native.TEXT_BLOCK),
    native.text("Hello"),
    native.stop(),
)

MESSAGES: Final = (
    # Kimi-K2.5#33, litellm#33859
    raw(
        "kimi: the start again and again",
        HELLO,
        native.BEGUN,
        native.BEGUN,
        *TOLD[:2],
        native.BEGUN,
        native.stop(),
        native.end(),
        native.OVER,
    ),
    raw(
        "kimi: the start again behind the thought",
        THOUGHT,
        native.BEGUN,
        native.THINKING,
        native.stop(),
        native.BEGUN,
        native.start(native.TEXT_BLOCK, 1),
        native.text("Hello", 1),
        native.stop(1),
        native.end(),
        native.OVER,
    ),
    # hermes-agent#72833
    raw("proxy: a block in front of the start", HELLO, *TOLD, native.BEGUN, native.end(), native.OVER),
    raw(
        "proxy: a block's start in front of the message's",
        HELLO,
        TOLD[0],
        native.BEGUN,
        *TOLD[1:],
        native.end(),
        native.OVER,
    ),
    raw("proxy: no start of the message", HELLO, *TOLD, native.end(), native.OVER),
    # DeepSeek-Reasonix#8756
    raw("opencode go: no message_stop behind a call", CALL, native.BEGUN, *CALLING, native.end("tool_use")),
    # bifrost#6081
    raw("bifrost: neither message_delta nor message_stop", Meant("Hello", error=502), native.BEGUN, *TOLD),
    raw("bifrost: message_stop without message_delta", HELLO, native.BEGUN, *TOLD, native.OVER),
    raw("bifrost: message_stop without message_delta behind a call", CALL, native.BEGUN, *CALLING, native.OVER),
    # claude-code#67809
    raw(
        "proxy: deltas behind message_stop",
        HELLO,
        native.BEGUN,
        *TOLD,
        native.end(),
        native.OVER,
        native.text(" again"),
        native.event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 9}),
        native.OVER,
    ),
    raw(
        "proxy: a call behind message_stop",
        HELLO,
        native.BEGUN,
        *TOLD,
        native.end(),
        native.OVER,
        native.start(native.CALL_BLOCK, 1),
        native.arguments(CITY, 1),
        native.stop(1),
    ),
    # vllm#55324
    raw("vllm: no stop_sequence", Meant("Hello", output=4), native.BEGUN, *TOLD, NO_SEQUENCE, native.OVER),
    # sglang#39752, AgnesAI#117
    raw(
        "sglang: a thought without signature",
        THOUGHT,
        native.BEGUN,
        native.start({"type": "thinking", "thinking": ""}),
        native.delta("thinking_delta", "thinking", "Hm"),
        native.stop(),
        native.start(native.TEXT_BLOCK, 1),
        native.text("Hello", 1),
        native.stop(1),
        native.end(),
        native.OVER,
    ),
    # xemantic/anthropic-sdk-kotlin#147
    raw(
        "kimi: no end of thinking in front of a call",
        Meant("", "Hm", (PARIS,), "tool_use"),
        native.BEGUN,
        native.THINKING,
        native.start(native.CALL_BLOCK, 1),
        native.arguments(CITY, 1),
        native.end("tool_use"),
        native.OVER,
    ),
    # ollama#14816: the call's index is that of the block before
    raw(
        "ollama: a call with the index of the block before",
        Meant("", "Hm", (PARIS,), "tool_use"),
        native.BEGUN,
        native.THINKING,
        native.stop(),
        native.start(native.CALL_BLOCK),
        native.arguments(CITY),
        native.stop(),
        native.end("tool_use"),
        native.OVER,
    ),
    raw(
        "ollama: the end of a thought with the next one's index",
        THOUGHT,
        native.BEGUN,
        native.THINKING,
        native.stop(1),
        native.start(native.TEXT_BLOCK, 1),
        native.text("Hello", 1),
        native.stop(1),
        native.end(),
        native.OVER,
    ),
    # PostHog#72287: a delta of another kind than its block
    raw(
        "litellm: arguments within a thought's block",
        Meant("", "Hm", (PARIS,), "tool_use"),
        native.BEGUN,
        native.THINKING,
        native.arguments("", 0),
        native.stop(),
        native.start(native.CALL_BLOCK, 1),
        native.arguments(CITY, 1),
        native.stop(1),
        native.end("tool_use"),
        native.OVER,
    ),
    raw(
        "litellm: text within a thought's block",
        THOUGHT,
        native.BEGUN,
        native.THINKING,
        native.text("Hello"),
        native.stop(),
        native.end(),
        native.OVER,
    ),
    # 9router#2047: an empty stream, ended like a chat completion
    raw("minimax m3: nothing but the mark of chat", Meant(error=502), b"data: [DONE]\n\n"),
    raw(
        "openai: overloaded within a stream",
        Meant(error=529),
        native.BEGUN,
        native.event(
            "error", error={"type": "service_unavailable_error", "code": "server_is_overloaded", "message": OVERLOAD}
        ),
    ),
    raw(
        "glm: two events on one line",
        Meant(error=502),
        native.BEGUN,
        TOLD[0],
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"de' + TOLD[1].split(b"\n", 1)[1],
        *TOLD[2:],
        native.end(),
        native.OVER,
    ),
)


def error_event(**fields: Any) -> bytes:
    return b"event: error\n" + Script("", ({"type": "error", **fields},), HELLO, done=False).body


COMMENTARY: Final[Json] = {
    **items.TEXT_ITEM,
    "id": "msg_0",
    "phase": "commentary",
    "content": [{"type": "output_text", "text": "Let me look.", "annotations": [], "logprobs": []}],
}
FINAL: Final[Json] = {
    **items.TEXT_ITEM,
    "phase": "final_answer",
    "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
}
EMPTY_MESSAGE: Final[Json] = {
    "id": "msg_9",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "text", "text": ""}],
}

RESPONSES: Final = (
    # codex#43337, codex-lb#1313
    raw(
        "codex: overloaded within a stream",
        Meant(error=529),
        items.BEGUN,
        items.event("in_progress", response=items.response(status="in_progress", usage=None)),
        error_event(
            error={
                "type": "service_unavailable_error",
                "code": "server_is_overloaded",
                "message": OVERLOAD,
                "param": None,
            },
            sequence_number=2,
        ),
        items.event(
            "failed",
            response=items.response(
                status="failed", error={"code": "server_is_overloaded", "message": OVERLOAD}, usage=None
            ),
        ),
    ),
    raw(
        "codex: slow down",
        Meant(error=529),
        items.BEGUN,
        items.event(
            "failed",
            response=items.response(status="failed", error={"code": "slow_down", "message": "slow down"}, usage=None),
        ),
    ),
    # litellm#35062
    raw(
        "codex: phases",
        Meant("Let me look.\n\nHello"),
        items.BEGUN,
        items.added(COMMENTARY),
        items.text("Let me look.", item_id="msg_0"),
        items.done(COMMENTARY),
        items.added(FINAL, 1),
        items.text("Hello", output_index=1),
        items.done(FINAL, 1),
        items.end(COMMENTARY, FINAL),
    ),
    whole("codex: phases", Meant("Let me look.\n\nHello"), items.response(COMMENTARY, FINAL)),
    raw(
        "codex: a comment, then a call",
        Meant("Let me look.", "", (PARIS,), "tool_use"),
        items.BEGUN,
        items.added(COMMENTARY),
        items.text("Let me look.", item_id="msg_0"),
        items.done(COMMENTARY),
        items.added(items.CALL_ITEM, 1),
        *items.arguments(*items.PIECES, output_index=1),
        items.done(items.CALL_ITEM, 1),
        items.end(COMMENTARY, items.CALL_ITEM),
    ),
    raw(
        "codex: an end without output",
        HELLO,
        items.BEGUN,
        items.added(items.TEXT_ITEM),
        items.text("Hello"),
        items.done(items.TEXT_ITEM),
        items.end(),
    ),
    # sglang#12652
    raw(
        "sglang: an empty message at the end of a call",
        CALL,
        items.BEGUN,
        items.added(items.CALL_ITEM),
        *items.arguments(*items.PIECES),
        items.event("function_call_arguments.done", item_id="fc_1", output_index=0, arguments=CITY),
        items.end(EMPTY_MESSAGE),
    ),
    # sglang#12644
    raw(
        "sglang: items from index 1",
        HELLO,
        items.BEGUN,
        items.added(items.TEXT_ITEM, 1),
        items.text("Hello", output_index=1),
        items.done(items.TEXT_ITEM, 1),
        items.end(items.TEXT_ITEM),
    ),
    # gemini-web2api#57
    raw(
        "gemini-web2api: a text's end alone",
        HELLO,
        items.BEGUN,
        items.event("output_text.done", item_id="msg_1", output_index=0, content_index=0, text="Hello"),
        items.end(items.TEXT_ITEM),
    ),
    raw("gemini-web2api: the end alone", HELLO, items.BEGUN, items.end(items.TEXT_ITEM)),
    raw("gemini-web2api: the end alone, with a call", CALL, items.BEGUN, items.end(items.CALL_ITEM)),
    # opencodex#4652
    raw(
        "opencodex: arguments at their end only",
        CALL,
        items.BEGUN,
        items.added(items.CALL_ITEM),
        items.event("function_call_arguments.done", item_id="fc_1", output_index=0, arguments=CITY),
        items.done(items.CALL_ITEM),
        items.end(items.CALL_ITEM),
    ),
    # vllm#42407
    raw(
        "vllm: deltas and the end", HELLO, items.BEGUN, items.text("Hel"), items.text("lo"), items.end(items.TEXT_ITEM)
    ),
    # vllm#56285
    raw(
        "vllm: other ids and a summary at the end",
        Meant("", "Hm", (PARIS,), "tool_use"),
        items.BEGUN,
        items.added(items.THOUGHT_ITEM),
        items.event("reasoning_text.delta", item_id="rs_1", output_index=0, content_index=0, delta="Hm"),
        items.done({**items.THOUGHT_ITEM, "status": "completed", "summary": []}),
        items.added(items.CALL_ITEM, 1),
        *items.arguments(*items.PIECES, output_index=1),
        items.done(items.CALL_ITEM, 1),
        items.end(
            {**items.THOUGHT_ITEM, "id": "rs_other"},
            {**items.CALL_ITEM, "id": "fc_other", "call_id": "chatcmpl-tool-9"},
        ),
    ),
    # codex#41989
    raw(
        "proxy: no end of the response",
        Meant("Hello", error=502),
        items.BEGUN,
        items.added(items.TEXT_ITEM),
        items.text("Hello"),
        items.done(items.TEXT_ITEM),
    ),
    raw(
        "proxy: the mark of chat in place of the end",
        Meant("Hello", error=502),
        items.BEGUN,
        items.added(items.TEXT_ITEM),
        items.text("Hello"),
        items.done(items.TEXT_ITEM),
        b"data: [DONE]\n\n",
    ),
    # claude-code-proxy#10
    raw(
        "codex: failed by the tools",
        Meant(error=400),
        items.BEGUN,
        items.event(
            "failed",
            response=items.response(
                status="failed",
                error={
                    "code": "invalid_request_error",
                    "message": "Tool choice 'function' not found in 'tools' parameter.",
                },
                usage=None,
            ),
        ),
    ),
)

REFUSALS: Final = (
    refused(
        "copilot: an extra input, by the field's place",
        400,
        400,
        {
            "error": {
                "message": (
                    "Error from provider: Extra inputs are not permitted, field: 'messages[2].refusal', value: None"
                )
            }
        },
    ),
    refused(
        "openrouter: the sum exceeds, too long for the endpoint",
        400,
        400,
        {
            "error": {
                "message": (
                    "This endpoint's maximum context length is 262144 tokens. However, you requested about 284283 "
                    "tokens (284183 of text input, 0 of tool input, 100 in the output). Please reduce the length of "
                    "either one, or use the context-compression plugin to compress your prompt automatically."
                ),
                "code": 400,
            }
        },
    ),
    refused(
        "llamacpp: the request exceeds the context, too long",
        400,
        400,
        {
            "error": {
                "code": 400,
                "message": (
                    "request (144055 tokens) exceeds the available context size (131072 tokens), try increasing it"
                ),
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 144055,
                "n_ctx": 131072,
            }
        },
    ),
    refused(
        "opencode go: the limit of five hours",
        429,
        429,
        {
            "type": "error",
            "error": {"type": "GoUsageLimitError", "message": "5-hour usage limit reached. It resets in 2 hours."},
        },
    ),
    refused(
        "codex: overloaded",
        529,
        503,
        {
            "error": {
                "message": OVERLOAD,
                "type": "service_unavailable_error",
                "code": "server_is_overloaded",
                "param": None,
            }
        },
    ),
    refused(
        "new-api: a limit by its code alone",
        429,
        429,
        {"error": {"message": "rate limited", "code": "rate_limit_exceeded"}},
    ),
    refused(
        "anthropic: the filter of the output",
        400,
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"},
        },
    ),
)
