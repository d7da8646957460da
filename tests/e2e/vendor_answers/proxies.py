"""Answers of gateways and clouds in front of models: their failures, their words, and their own fields."""

from typing import Any, Final

from tests.e2e.vendor_answers.script import (
    BOTH,
    CALL,
    CALLED,
    CITY,
    HELLO,
    IN_LONDON,
    LOOK,
    PARIS,
    ROLE,
    STOP,
    THOUGHT,
    USAGE,
    Meant,
    Script,
    call,
    calls,
    chunk,
    completion,
    peculiar,
    say,
    streamed,
    whole,
)
from tests.e2e.vendor_answers.shapes import raw


def failing(name: str, error: int, payload: Any) -> tuple[Script, ...]:
    """The failure in place of an answer, behind its beginning, and as JSON in a 200."""
    data = payload if isinstance(payload, bytes) else None
    return (
        streamed(f"{name}, first", Meant(error=error), payload, done=False),
        streamed(f"{name}, in the middle", Meant("Hel", error=error), ROLE, say("Hel"), payload, done=False),
        *(() if data is not None else (whole(name, Meant(error=error), payload),)),
    )


FAILURES: Final = (
    *failing(
        "anthropic: overloaded", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    ),
    *failing(
        "vllm: an error object",
        400,
        {"object": "error", "message": "x", "type": "BadRequestError", "param": None, "code": 400},
    ),
    *failing(
        "spring: a status and a path",
        502,
        {
            "timestamp": "2026-09-01T00:00:00Z",
            "status": 500,
            "error": "Internal Server Error",
            "path": "/v1/chat/completions",
        },
    ),
    *failing("proxy: an error that is true", 502, {"error": True, "message": "upstream failed"}),
    *failing("proxy: no success", 502, {"success": False, "message": "upstream failed"}),
    *failing("proxy: a status in words", 502, {"status": "error", "message": "upstream failed"}),
    *failing(
        "cloudflare: a list of errors",
        429,
        {
            "success": False,
            "errors": [{"code": 3040, "message": "Capacity temporarily exceeded, please try again."}],
            "result": None,
        },
    ),
    *failing(
        "baidu: a code and words", 429, {"error_code": 336501, "error_msg": "Rate limit reached for RPM", "id": "x"}
    ),
    *failing("spark: a code and words", 502, {"code": 10013, "message": "input content audit failed", "sid": "x"}),
    *failing(
        "aws: a type behind underscores",
        429,
        {"__type": "ThrottlingException", "message": "Too many requests, please wait before trying again."},
    ),
    *failing(
        "bifrost: its own words",
        429,
        {
            "is_bifrost_error": True,
            "status_code": 429,
            "error": {"type": "rate_limit", "message": "Rate limit reached"},
            "extra_fields": {},
        },
    ),
    *failing(
        "gemini: a list",
        529,
        [
            {
                "error": {
                    "code": 503,
                    "message": "The model is overloaded. Please try again later.",
                    "status": "UNAVAILABLE",
                }
            }
        ],
    ),
    *failing(
        "litellm: the failure of another within a text",
        529,
        {
            "error": {
                "message": 'AnthropicException - {"error":{"type":"overloaded_error","message":"Overloaded"}}',
                "type": None,
                "param": None,
                "code": "500",
            }
        },
    ),
    *failing(
        "portkey: hooks failed",
        400,
        {
            "error": {
                "message": "The guardrail checks defined in the config failed.",
                "type": "hooks_failed",
                "param": None,
                "code": None,
            },
            "hook_results": {},
        },
    ),
    *failing(
        "envoy: words as data",
        502,
        b"data: upstream connect error or disconnect/reset before headers. reset reason: connection termination\n\n",
    ),
    *failing("nginx: a page in the stream", 502, b"<html>\r\n<head><title>502 Bad Gateway</title></head></html>\r\n"),
    streamed(
        "openrouter: the failure in the choice",
        Meant("Hel", error=502),
        say("Hel"),
        chunk({"content": ""}, None, choice={"error": {"code": 502, "message": "Upstream idle timeout exceeded"}}),
    ),
    streamed(
        "openrouter: a limit in the middle",
        Meant("Hel", error=429),
        say("Hel"),
        chunk(
            {"content": ""},
            "error",
            error={"code": 429, "message": "Rate limit exceeded", "metadata": {"provider_name": "x"}},
        ),
    ),
)

STREAMS: Final = (
    *FAILURES,
    # Words for the end
    *[
        streamed(f"words: {word}", Meant("Hel", stop=stop), say("Hel"), chunk({}, word))
        for word, stop in (
            ("end_turn", "end_turn"),
            ("STOP", "end_turn"),
            ("COMPLETE", "end_turn"),
            ("eos", "end_turn"),
            ("end", "end_turn"),
            ("completed", "end_turn"),
            ("maxPredictedTokensReached", "max_tokens"),
            ("MODEL_ARMOR", "refusal"),
            ("FINISH_REASON_STOP", "end_turn"),
            ("MAX_TOKENS", "max_tokens"),
            ("max_output_tokens", "max_tokens"),
            ("length_limit", "max_tokens"),
            ("token_limit", "max_tokens"),
            ("Length", "max_tokens"),
            ("SAFETY", "refusal"),
            ("content_filtered", "refusal"),
            ("guardrail_intervened", "refusal"),
            ("content_filter: PROHIBITED_CONTENT", "refusal"),
            ("RECITATION", "refusal"),
            ("PROHIBITED_CONTENT", "refusal"),
            ("refusal", "refusal"),
            ("ERROR_TOXIC", "refusal"),
        )
    ],
    *[
        streamed(f"words of a call: {word}", CALL, calls(call(CITY, 0, "a", "get_weather")), chunk({}, word))
        for word in ("tool_use", "TOOL_CALL", "function_call", "tool_call", "tools", "STOP", "end_turn", "unknown")
    ],
    *[
        streamed(f"words of a failure: {word}", Meant("Hel", error=502), say("Hel"), chunk({}, word))
        for word in (
            "ERROR",
            "failed",
            "MALFORMED_FUNCTION_CALL",
            "malformed_model_output",
            "server_error",
            "timeout",
            "cancelled",
            "MALFORMED_RESPONSE",
        )
    ],
    # Fields
    streamed(
        "databricks: thinking and text in parts",
        THOUGHT,
        chunk(
            {
                "role": "assistant",
                "content": [
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm", "signature": ""}]}
                ],
            }
        ),
        chunk({"content": [{"type": "text", "text": "Hello"}]}),
        STOP,
    ),
    peculiar(
        streamed(
            "copilot: reasoning text and its seal",
            THOUGHT,
            chunk({"role": "assistant", "content": None, "reasoning_text": "Hm"}),
            chunk({"content": None, "reasoning_opaque": "c2VhbGVk"}),
            say("Hello"),
            STOP,
        )
    ),
    peculiar(
        streamed(
            "litellm: thinking blocks alone",
            THOUGHT,
            chunk(
                {
                    "role": "assistant",
                    "content": "",
                    "thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": ""}],
                }
            ),
            say("Hello"),
            STOP,
        )
    ),
    peculiar(
        streamed("proxy: reasoning as an object", THOUGHT, chunk({"reasoning": {"content": "Hm"}}), say("Hello"), STOP)
    ),
    peculiar(
        streamed(
            "proxy: reasoning as a list of texts", THOUGHT, chunk({"reasoning_content": ["Hm"]}), say("Hello"), STOP
        )
    ),
    peculiar(
        streamed(
            "proxy: reasoning as a list of parts",
            THOUGHT,
            chunk({"reasoning_content": [{"type": "text", "text": "Hm"}]}),
            say("Hello"),
            STOP,
        )
    ),
    streamed(
        "openrouter: a summary in details",
        THOUGHT,
        chunk(
            {
                "reasoning": "Hm",
                "reasoning_details": [
                    {"type": "reasoning.summary", "summary": "Hm", "format": "openai-responses-v1", "index": 0}
                ],
            }
        ),
        say("Hello"),
        STOP,
    ),
    streamed(
        "portkey: results of hooks in front",
        HELLO,
        {"hook_results": {"before_request_hooks": []}},
        ROLE,
        say("Hello"),
        STOP,
    ),
    streamed(
        "perplexity: the message beside the delta",
        HELLO,
        chunk({"content": "Hel"}, choice={"message": {"role": "assistant", "content": "Hel"}}),
        chunk({"content": "lo"}, choice={"message": {"role": "assistant", "content": "Hello"}}),
        chunk(
            {"content": ""}, "stop", choice={"message": {"role": "assistant", "content": "Hello"}}, search_results=[]
        ),
    ),
    streamed(
        "snowflake: no index and no reason",
        HELLO,
        {
            "id": "c",
            "choices": [
                {
                    "delta": {
                        "type": "text",
                        "content": "Hel",
                        "content_list": [{"type": "text", "text": "Hel"}],
                        "text": "Hel",
                    }
                }
            ],
            "usage": {},
        },
        {"id": "c", "choices": [{"delta": {"type": "text", "content": "lo", "text": "lo"}}], "usage": {}},
    ),
    streamed(
        "together: the text beside the delta",
        HELLO,
        say("Hel", choice={"text": "Hel", "token_id": 5, "logprobs": None}),
        say("lo", choice={"text": "lo", "token_id": 6, "logprobs": None}),
        STOP,
    ),
    streamed(
        "minimax: a name and sound beside the role",
        HELLO,
        chunk(
            {"role": "assistant", "name": "MiniMax AI", "content": "Hel", "audio_content": ""}, input_sensitive=False
        ),
        chunk({"role": "assistant", "name": "MiniMax AI", "content": "lo", "audio_content": ""}),
        STOP,
    ),
    streamed(
        "watsonx: warnings of the system", HELLO, say("Hello", system={"warnings": [{"message": "x", "id": "y"}]}), STOP
    ),
    streamed(
        "openai: padding and tiers",
        HELLO,
        say("Hello", obfuscation="abc", service_tier="default"),
        chunk({}, "stop", obfuscation="x"),
    ),
    streamed(
        "openai: a refusal",
        Meant("No.", stop="refusal"),
        chunk({"role": "assistant", "content": None, "refusal": ""}),
        chunk({"refusal": "No."}),
        STOP,
    ),
    peculiar(
        streamed(
            "openai: a second choice",
            HELLO,
            say("Hel"),
            say("Bye", choice={"index": 1}),
            say("lo"),
            STOP,
            chunk({}, "stop", choice={"index": 1}),
        )
    ),
    streamed("php: usage is a list", HELLO, say("Hello", usage=[]), STOP),
    streamed(
        "proxy: details of usage are null",
        Meant("Hello", output=4),
        say("Hello"),
        STOP,
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "prompt_tokens_details": None,
                "completion_tokens_details": None,
            },
        },
    ),
    peculiar(
        streamed(
            "proxy: usage by Anthropic's names",
            Meant("Hello", output=4),
            say("Hello"),
            STOP,
            {"choices": [], "usage": {"input_tokens": 9, "output_tokens": 4}},
        )
    ),
    streamed(
        "proxy: usage beside an empty delta at the end",
        Meant("Hello", output=4),
        say("Hello"),
        STOP,
        chunk({}, None, usage=USAGE["usage"]),
    ),
    streamed(
        "proxy: usage behind the reason, with the reason again",
        Meant("Hello", output=4),
        say("Hello"),
        STOP,
        chunk({}, "stop", usage=USAGE["usage"]),
    ),
    streamed("proxy: usage in front of the text", Meant("Hello", output=4), USAGE, say("Hello"), STOP),
    streamed(
        "proxy: zeros as usage",
        HELLO,
        say("Hello"),
        STOP,
        {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}},
    ),
    streamed(
        "proxy: the message in place of the delta",
        HELLO,
        {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hel"}}]},
        {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "lo"}}]},
        STOP,
    ),
    streamed(
        "proxy: a call in the message in place of the delta",
        CALL,
        {
            "id": "c",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "", "tool_calls": [call(CITY, 0, "a", "get_weather")]},
                    "finish_reason": "tool_calls",
                }
            ],
        },
    ),
    streamed(
        "proxy: the text in the choice",
        HELLO,
        {"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": "Hel"}]},
        {"id": "c", "choices": [{"index": 0, "text": "lo", "finish_reason": "stop"}]},
    ),
    streamed("proxy: a role of the model", HELLO, chunk({"role": "model", "content": "Hello"}), STOP),
    streamed("proxy: a role in capitals", HELLO, chunk({"role": "ASSISTANT", "content": "Hello"}), STOP),
    streamed(
        "proxy: the reason in capitals beside a call",
        CALL,
        calls(call(CITY, 0, "a", "get_weather")),
        chunk({}, "TOOL_CALLS"),
    ),
    streamed("proxy: the index is a float", CALL, calls({**call(CITY, 0, "a", "get_weather"), "index": 0.0}), CALLED),
    streamed("proxy: the index is negative", CALL, calls(call(CITY, -1, "a", "get_weather")), CALLED),
    streamed(
        "proxy: ids of two calls are alike",
        BOTH,
        calls(call(CITY, 0, "a", "get_weather")),
        calls(call(IN_LONDON, 1, "a", "get_weather")),
        CALLED,
    ),
    streamed(
        "proxy: two like calls",
        Meant(calls=(PARIS, PARIS), stop="tool_use"),
        calls(call(CITY, 0, "a", "get_weather")),
        calls(call(CITY, 1, "b", "get_weather")),
        CALLED,
    ),
    peculiar(
        streamed(
            "proxy: the old form of a call",
            CALL,
            chunk({"function_call": {"name": "get_weather", "arguments": ""}}),
            chunk({"function_call": {"arguments": CITY}}),
            chunk({}, "function_call"),
        )
    ),
    streamed(
        "proxy: a call without a kind",
        CALL,
        calls({"index": 0, "id": "a", "function": {"name": "get_weather", "arguments": CITY}}),
        CALLED,
    ),
    streamed(
        "proxy: the call's fields beside the function",
        CALL,
        calls({"index": 0, "id": "a", "type": "function", "name": "get_weather", "arguments": CITY}),
        CALLED,
    ),
    streamed(
        "proxy: arguments by the name of input",
        CALL,
        calls(
            {"index": 0, "id": "a", "type": "function", "function": {"name": "get_weather", "input": {"city": "Paris"}}}
        ),
        CALLED,
    ),
    streamed("proxy: content is an object", HELLO, chunk({"content": {"type": "text", "text": "Hello"}}), STOP),
    streamed("proxy: the text is in the reason's chunk only", HELLO, say("Hello", "stop")),
    streamed("proxy: blank text behind a call", CALL, calls(call(CITY, 0, "a", "get_weather")), say("\n"), CALLED),
    streamed(
        "proxy: blank text in front of a call", CALL, say("\n\n"), calls(call(CITY, 0, "a", "get_weather")), CALLED
    ),
    # Marks of the end
    raw(
        "mark: no space",
        HELLO,
        b"data:" + Script("", (say("Hello", "stop"),), HELLO, done=False).body[6:],
        b"data:[DONE]\n\n",
    ),
    raw("mark: quoted", HELLO, Script("", (say("Hello", "stop"),), HELLO, done=False).body, b'data: "[DONE]"\n\n'),
    raw(
        "mark: without brackets", HELLO, Script("", (say("Hello", "stop"),), HELLO, done=False).body, b"data: DONE\n\n"
    ),
    raw(
        "mark: in small letters",
        HELLO,
        Script("", (say("Hello", "stop"),), HELLO, done=False).body,
        b"data: [done]\n\n",
    ),
    raw(
        "mark: with a space behind",
        HELLO,
        Script("", (say("Hello", "stop"),), HELLO, done=False).body,
        b"data: [DONE] \n\n",
    ),
    raw(
        "lines: ids and times to wait",
        HELLO,
        b"retry: 3000\n\n",
        b"id: 1\nevent: message\n",
        Script("", (say("Hello", "stop"),), HELLO, done=False).body,
        b"id: 2\ndata: [DONE]\n\n",
    ),
    raw(
        "lines: the end of a stream that was cut off",
        HELLO,
        Script("", (say("Hello", "stop"),), HELLO, done=False).body[:-1],
    ),
)
WHOLES: Final = (
    whole(
        "databricks: thinking and text in parts",
        THOUGHT,
        completion(
            {
                "content": [
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]},
                    {"type": "text", "text": "Hello"},
                ]
            }
        ),
    ),
    peculiar(
        whole(
            "copilot: reasoning text and its seal",
            THOUGHT,
            completion({"content": "Hello", "reasoning_text": "Hm", "reasoning_opaque": "c2VhbGVk"}),
        )
    ),
    peculiar(
        whole(
            "litellm: thinking blocks alone",
            THOUGHT,
            completion(
                {"content": "Hello", "thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "x"}]}
            ),
        )
    ),
    peculiar(
        whole(
            "proxy: the old form of a call",
            CALL,
            completion({"content": None, "function_call": {"name": "get_weather", "arguments": CITY}}, "function_call"),
        )
    ),
    whole(
        "proxy: calls are an object",
        CALL,
        completion({"content": None, "tool_calls": call(CITY, None, "a", "get_weather")}, "tool_calls"),
    ),
    whole(
        "proxy: no arguments",
        LOOK,
        completion(
            {"content": None, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "look"}}]},
            "tool_calls",
        ),
    ),
    whole(
        "proxy: the text in the choice",
        HELLO,
        {"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": "Hello", "finish_reason": "stop"}]},
    ),
    whole("proxy: a chunk in place of the answer", HELLO, say("Hello", "stop")),
    whole(
        "proxy: result around it", HELLO, {"result": completion({"content": "Hello"}), "success": True, "errors": []}
    ),
    whole("proxy: reasons in capitals", Meant("Hel", stop="max_tokens"), completion({"content": "Hel"}, "LENGTH")),
    whole("proxy: choices are empty", Meant(error=502), {"id": "c", "choices": [], "usage": USAGE["usage"]}),
    whole("proxy: content is null, and nothing else", Meant(""), completion({"content": None})),
    whole("proxy: a redirect's page", Meant(error=502), b"<html><body>Sign in</body></html>"),
    whole("openai: a refusal", Meant("No.", stop="refusal"), completion({"content": None, "refusal": "No."})),
    whole(
        "gemini: blocked",
        Meant("", stop="refusal"),
        completion({"content": None}, "content_filter: PROHIBITED_CONTENT"),
    ),
    peculiar(whole("ollama: thinking under its own name", THOUGHT, completion({"content": "Hello", "thinking": "Hm"}))),
)
