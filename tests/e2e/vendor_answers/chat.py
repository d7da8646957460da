"""Chat completions, streamed and whole, by vendor."""

from typing import Any, Final

from tests.e2e.vendor_answers.script import (
    CALL,
    CALLED,
    CITY,
    HELLO,
    LONDON,
    PARIS,
    ROLE,
    STOP,
    THOUGHT,
    USAGE,
    Json,
    Meant,
    call,
    calls,
    chunk,
    completion,
    say,
    streamed,
    whole,
)

FILTERS: Final[Json] = {"hate": {"filtered": False, "severity": "safe"}}
OFFSETS: Final[Json] = {"content_filter_offsets": {"check_offset": 4, "start_offset": 4, "end_offset": 9}}
SIGNED: Final[Json] = {"google": {"thought_signature": "EjQKMg=="}}
ASYNC_FILTER: Final[Json] = {
    "id": "",
    "object": "",
    "created": 0,
    "model": "",
    "choices": [{"index": 0, "finish_reason": None, "content_filter_results": FILTERS, **OFFSETS}],
}
PROMPT_FILTER: Final[Json] = {
    "id": "",
    "object": "",
    "created": 0,
    "model": "",
    "choices": [],
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": FILTERS}],
}
SECTION: Final = (
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
    + CITY
    + "<|tool_call_end|><|tool_calls_section_end|>"
)
DSML: Final = (
    '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter name="city" string="true">Paris'
    "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>"
)
GLM: Final = "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n</tool_call>"
MINIMAX: Final = (
    '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n</invoke>\n'
    "</minimax:tool_call>"
)
HERMES: Final = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
CODER: Final = "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"


def detail(text: str, **fields: Any) -> Json:
    return {"type": "reasoning.text", "id": "r1", "format": "MiniMax-response-v1", "index": 0, "text": text, **fields}


STREAMS: Final = (
    # Azure
    streamed("azure: the first chunk has filters of the prompt only", HELLO, PROMPT_FILTER, ROLE, say("Hello"), STOP),
    streamed("azure: a chunk of the filter has no delta", HELLO, ROLE, say("Hel"), ASYNC_FILTER, say("lo"), STOP),
    streamed("azure: a chunk of the filter follows the end", HELLO, ROLE, say("Hello"), STOP, ASYNC_FILTER, USAGE),
    streamed("azure: usage is null in each chunk", HELLO, say("Hel", usage=None), say("lo", usage=None), STOP, USAGE),
    streamed(
        "azure: many plain chunks, and one of the filter",
        Meant("ab" * 9),
        ROLE,
        *[say("ab")] * 6,
        ASYNC_FILTER,
        *[say("ab")] * 3,
        STOP,
    ),
    streamed(
        "azure: the filter ends the answer",
        Meant("Hel", stop="refusal"),
        say("Hel"),
        chunk({}, "content_filter", choice={"content_filter_results": {"hate": {"filtered": True}}}),
    ),
    streamed(
        "azure: the delta is null at the end",
        HELLO,
        say("Hello"),
        chunk(None, "stop"),
    ),
    # Gemini
    streamed(
        "gemini: a call without an index, signed, ends in stop",
        CALL,
        chunk({"role": "assistant", "tool_calls": [call(CITY, None, "fc1", "get_weather", extra_content=SIGNED)]}),
        chunk({"role": "assistant"}, "stop"),
    ),
    streamed(
        "gemini: arguments go on without an index",
        CALL,
        calls(call('{"city":', None, "fc1", "get_weather")),
        calls(call(' "Paris"}', None)),
        STOP,
    ),
    streamed(
        "gemini: a signature comes by itself",
        CALL,
        calls(call(CITY, None, "fc1", "get_weather")),
        chunk({"extra_content": SIGNED}),
        STOP,
    ),
    streamed(
        "gemini: two calls under index 0",
        Meant(calls=(PARIS, LONDON), stop="tool_use"),
        calls(call(CITY, 0, "a", "get_weather"), call('{"city":"London"}', 0, "b", "get_weather")),
        STOP,
    ),
    streamed("gemini: an empty id", CALL, calls(call(CITY, 0, "", "get_weather")), STOP),
    streamed(
        "gemini: thoughts in tags, marked",
        THOUGHT,
        chunk({"content": "<thought>Hm", "extra_content": {"google": {"thought": True}}}),
        chunk({"content": "</thought>Hello"}),
        STOP,
    ),
    streamed("gemini: a chunk without content before the end", HELLO, say("Hello"), chunk({}), STOP),
    streamed("gemini: MAX_TOKENS", Meant("Hel", stop="max_tokens"), say("Hel", "MAX_TOKENS")),
    streamed("gemini: no reason before the mark", HELLO, ROLE, say("Hello")),
    streamed("gemini: a malformed call", Meant(error=502), chunk({}, "function_call_filter: MALFORMED_FUNCTION_CALL")),
    # DeepSeek
    streamed(
        "deepseek: nulls beside each text",
        THOUGHT,
        chunk({"role": "assistant", "content": None, "reasoning_content": ""}),
        chunk({"content": None, "reasoning_content": "Hm"}),
        chunk({"content": "Hello", "reasoning_content": None}),
        chunk({"content": "", "reasoning_content": None}, "stop", usage={"prompt_tokens": 9, "completion_tokens": 4}),
    ),
    streamed("deepseek: comments while it waits", HELLO, b": keep-alive\n\n", b": keep-alive\n\n", say("Hello"), STOP),
    streamed("deepseek: no resources", Meant(error=502), ROLE, chunk({}, "insufficient_system_resource")),
    streamed("deepseek: calls in DSML", CALL, ROLE, say(DSML[:20]), say(DSML[20:]), STOP),
    streamed("deepseek: calls in DSML in one piece", CALL, say(DSML, "stop")),
    streamed(
        "deepseek: an empty call beside each text",
        HELLO,
        chunk({"content": "Hel", "tool_calls": []}),
        chunk({"content": "lo", "tool_calls": []}),
        STOP,
    ),
    # Kimi
    streamed(
        "kimi: usage is in the choice",
        Meant("Hello", output=4),
        say("Hello"),
        chunk({}, "stop", choice={"usage": {"prompt_tokens": 9, "completion_tokens": 4}}),
    ),
    streamed("kimi: an id with the name", CALL, calls(call(CITY, 0, "functions.get_weather:0", "get_weather")), CALLED),
    streamed("kimi: calls in its markup", CALL, ROLE, *[say(SECTION[at : at + 9]) for at in range(0, 180, 9)], STOP),
    streamed(
        "kimi: an empty name in later pieces",
        CALL,
        calls(call("", 0, "a", "get_weather")),
        calls(call('{"city": ', 0, "", "")),
        calls(call('"Paris"}', 0, "", "")),
        CALLED,
    ),
    # GLM
    streamed(
        "glm: a whole call beside the reason",
        Meant("", "Hm", (PARIS,), "tool_use"),
        chunk({"role": "assistant", "reasoning_content": "Hm"}),
        calls(call(CITY, 0, "a", "get_weather"), finish="tool_calls"),
    ),
    streamed("glm: sensitive", Meant("Hel", stop="refusal"), say("Hel"), chunk({}, "sensitive")),
    streamed("glm: the network failed", Meant(error=502), ROLE, chunk({}, "network_error")),
    streamed("glm: arguments are an object", CALL, calls(call({"city": "Paris"}, 0, "a", "get_weather")), CALLED),
    streamed("glm: calls in its markup", CALL, ROLE, *map(say, GLM), STOP),
    streamed("glm: the context is full", Meant("a", stop="max_tokens"), say("a"), chunk({}, "length")),
    # MiniMax
    streamed(
        "minimax: empty roles and totals",
        HELLO,
        chunk({"role": "", "content": "Hel"}, usage={"total_tokens": 0, "total_characters": 0}),
        chunk({"role": "", "content": "lo"}, usage={"total_tokens": 0, "total_characters": 0}),
        STOP,
    ),
    streamed(
        "minimax: the last chunk repeats the message",
        HELLO,
        say("Hel"),
        say("lo"),
        completion({"content": "Hello"}),
    ),
    streamed(
        "minimax: reasoning in details",
        THOUGHT,
        chunk({"reasoning_details": [detail("H")]}),
        chunk({"reasoning_details": [detail("m")]}),
        say("Hello"),
        STOP,
    ),
    streamed("minimax: calls in its markup", CALL, ROLE, say("\n" + MINIMAX), STOP),
    streamed(
        "minimax: the balance is used up",
        Meant(error=400),
        {"id": "x", "choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
    ),
    streamed(
        "minimax: a limit of calls",
        Meant(error=429),
        {"id": "x", "choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded(RPM)"}},
    ),
    # Qwen
    streamed(
        "qwen: empty ids and null names in later pieces",
        CALL,
        calls(call("", 0, "call_1", "get_weather")),
        calls({"index": 0, "id": "", "type": "function", "function": {"name": None, "arguments": '{"city": '}}),
        calls({"index": 0, "id": "", "type": "function", "function": {"name": None, "arguments": '"Paris"}'}}),
        CALLED,
    ),
    streamed("qwen: calls as XML", CALL, ROLE, *[say(CODER[at : at + 5]) for at in range(0, 120, 5)], STOP),
    streamed("qwen: calls as JSON in tags", CALL, ROLE, say(HERMES), STOP),
    streamed("qwen: an index that is a text", CALL, calls(call(CITY, "0", "a", "get_weather")), CALLED),  # type: ignore[arg-type]
    streamed(
        "qwen: events with ids and a status",
        HELLO,
        b'id:1\nevent:result\n:HTTP_STATUS/200\ndata:{"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\n',
    ),
    streamed(
        "qwen: an end of thinking without its beginning stays text",
        Meant("Hm\n</think>\n\nHello"),
        say("Hm\n</think>\n\nHello"),
        STOP,
    ),
    streamed("qwen: a thought in tags", THOUGHT, say("<think>"), say("Hm"), say("</think>"), say("Hello"), STOP),
    # Mistral
    streamed(
        "mistral: thinking in parts",
        THOUGHT,
        chunk({"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]}),
        chunk({"content": [{"type": "text", "text": "Hello"}]}),
        STOP,
    ),
    streamed(
        "mistral: a closed thought in parts",
        THOUGHT,
        chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}], "closed": True}]}),
        say("Hello"),
        STOP,
    ),
    streamed(
        "mistral: a call without a type beside the reason",
        CALL,
        calls(
            {"id": "D681PevKs", "function": {"name": "get_weather", "arguments": CITY}, "index": 0}, finish="tool_calls"
        ),
    ),
    streamed(
        "mistral: the model's length",
        Meant("a", stop="model_context_window_exceeded"),
        say("a"),
        chunk({"content": ""}, "model_length"),
    ),
    streamed("mistral: a null role", HELLO, chunk({"role": None, "content": "Hello"}), STOP),
    streamed("mistral: an error", Meant(error=502), ROLE, chunk({"content": ""}, "error")),
    streamed(
        "mistral: a reference among the parts",
        HELLO,
        chunk({"content": [{"type": "text", "text": "Hello"}, {"type": "reference", "reference_ids": [1]}]}),
        STOP,
    ),
    # Groq, Cerebras, xAI
    streamed(
        "groq: usage in its own object",
        Meant("Hello", output=4),
        say("Hello"),
        chunk({}, "stop", x_groq={"id": "r", "usage": {"prompt_tokens": 9, "completion_tokens": 4}}),
    ),
    streamed("groq: reasoning", THOUGHT, chunk({"reasoning": "Hm", "channel": "analysis"}), say("Hello"), STOP),
    streamed(
        "groq: an error event",
        Meant(error=502),
        ROLE,
        b'event: error\ndata: {"error":{"message":"Internal Server Error","type":"internal_server_error"}}\n\n',
    ),
    streamed(
        "cerebras: all in one chunk", HELLO, say("Hello", "stop", time_info={"queue_time": 0.1}, usage=USAGE["usage"])
    ),
    streamed(
        "xai: a whole call in one chunk", CALL, calls(call(CITY, 0, "a", "get_weather")), chunk({}, "stop"), USAGE
    ),
    streamed(
        "xai: usage that grows, and citations",
        Meant("Hello", output=4),
        say("Hel", usage={"prompt_tokens": 9, "completion_tokens": 2}),
        say("lo", "stop", usage={"prompt_tokens": 9, "completion_tokens": 4}, citations=["https://a.example"]),
    ),
    # Ollama, LM Studio
    streamed(
        "ollama: calls all under index 0",
        Meant(calls=(PARIS, LONDON), stop="tool_use"),
        calls(call(CITY, 0, "call_a", "get_weather")),
        calls(call('{"city":"London"}', 0, "call_b", "get_weather")),
        CALLED,
    ),
    streamed(
        "ollama: a role and empty text each time",
        HELLO,
        *[chunk({"role": "assistant", "content": text}) for text in ("", "Hel", "", "lo")],
        STOP,
    ),
    streamed(
        "ollama: the runner ended",
        Meant(error=502),
        ROLE,
        {"error": {"message": "llama runner process has terminated", "type": "api_error"}},
    ),
    streamed(
        "lmstudio: empty names in later pieces",
        CALL,
        calls(call("", 0, "1", "get_weather")),
        calls({"index": 0, "type": "function", "function": {"name": "", "arguments": '{"city": "Pa'}}),
        calls({"index": 0, "type": "function", "function": {"name": "", "arguments": 'ris"}'}}),
        CALLED,
    ),
    streamed(
        "lmstudio: an error event",
        Meant(error=502),
        ROLE,
        b'event: error\ndata: {"error":{"message":"Model unloaded."}}\n\n',
    ),
    streamed(
        "lmstudio: a message in place of the error",
        Meant(error=502),
        ROLE,
        b'event: error\ndata: {"message":"Model crashed."}\n\n',
    ),
    # vLLM, SGLang, llama.cpp
    streamed(
        "vllm: an empty list of calls each time",
        HELLO,
        *[chunk({"content": text, "tool_calls": []}) for text in "Hello"],
        STOP,
    ),
    streamed("vllm: text beside the limit", Meant("Hel", stop="max_tokens"), ROLE, say("H"), say("el", "length")),
    streamed(
        "vllm: the limit is called tool_calls",
        Meant(calls=(("get_weather", "cut"),), stop="max_tokens"),
        calls(call("", 0, "a", "get_weather")),
        calls(call('{"city": "Par', 0)),
        CALLED,
    ),
    streamed(
        "vllm: reasoning under two names",
        THOUGHT,
        chunk({"reasoning": "Hm", "reasoning_content": "Hm"}),
        say("Hello"),
        STOP,
    ),
    streamed(
        "vllm: a failure behind a 200",
        Meant(error=400),
        {"error": {"message": "Grammar error: x", "type": "BadRequestError", "code": 400}},
    ),
    streamed(
        "vllm: a token as the stop reason", HELLO, say("Hello"), chunk({}, "stop", choice={"stop_reason": 151645})
    ),
    streamed(
        "sglang: a matched token",
        HELLO,
        say("Hello"),
        chunk({"content": None}, "stop", choice={"matched_stop": 151645}),
    ),
    streamed("sglang: aborted", Meant(error=502), ROLE, chunk({}, "abort")),
    streamed(
        "sglang: pieces with null ids and names",
        CALL,
        calls({"index": 0, "id": "a", "type": "function", "function": {"name": "get_weather", "arguments": ""}}),
        *[
            calls({"index": 0, "id": None, "type": "function", "function": {"name": None, "arguments": text}})
            for text in ('{"city"', ': "Paris"}')
        ],
        CALLED,
    ),
    streamed(
        "llamacpp: an error by its own name",
        Meant(error=502),
        ROLE,
        b'error: {"code":500,"message":"slot failed","type":"server_error"}\n\n',
    ),
    streamed("llamacpp: timings", HELLO, say("Hello"), chunk({}, "stop", timings={"predicted_n": 2})),
    # LiteLLM, NVIDIA, proxies
    streamed(
        "litellm: an id for each chunk", HELLO, say("Hel", id="c1"), say("lo", id="c2"), chunk({}, "stop", id="c3")
    ),
    streamed(
        "litellm: an empty object in front of the arguments",
        CALL,
        calls(call("{}", 0, "a", "get_weather")),
        calls(call('{"city": ', 0)),
        calls(call('"Paris"}', 0)),
        CALLED,
    ),
    streamed(
        "litellm: thinking beside its block",
        THOUGHT,
        chunk(
            {"reasoning_content": "Hm", "thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": None}]}
        ),
        say("Hello"),
        STOP,
    ),
    streamed(
        "litellm: reasoning and text in one chunk",
        THOUGHT,
        chunk({"reasoning_content": "Hm", "content": "Hello"}),
        STOP,
    ),
    streamed(
        "litellm: a failure with a code as text",
        Meant(error=502),
        ROLE,
        {"error": {"message": "litellm.APIError: x", "type": "None", "param": "None", "code": "500"}},
    ),
    streamed("litellm: anthropic's reason", HELLO, say("Hello"), chunk({}, "end_turn")),
    streamed("nvidia: calls without a reason", CALL, ROLE, calls(call(CITY, 0, "a", "get_weather"))),
    streamed("nvidia: the stream is cut", Meant(error=502), ROLE, done=False),
    streamed("proxy: a reason in every chunk", HELLO, say("Hel", "stop"), say("lo", "stop"), USAGE),
    streamed(
        "proxy: a reason in every chunk of a call",
        CALL,
        calls(call('{"city": ', 0, "a", "get_weather"), finish="tool_calls"),
        calls(call('"Paris"}', 0), finish="tool_calls"),
    ),
    streamed("proxy: text after the reason", HELLO, say("Hel"), STOP, say("lo"), STOP),
    streamed("proxy: calls after the reason", CALL, ROLE, STOP, calls(call(CITY, 0, "a", "get_weather")), CALLED),
    streamed(
        "proxy: line ends within arguments",
        Meant(calls=(("run", {"command": "a\nb"}),), stop="tool_use"),
        calls(call('{"command": "a\n', 0, "a", "run")),
        calls(call('b"}', 0)),
        CALLED,
    ),
    streamed(
        "proxy: a bracket too many",
        CALL,
        calls(call('{"city": "Paris"', 0, "a", "get_weather")),
        calls(call("}}", 0)),
        CALLED,
    ),
    streamed(
        "proxy: a bracket too few",
        CALL,
        calls(call('{"city": ', 0, "a", "get_weather")),
        calls(call('"Paris"', 0)),
        CALLED,
    ),
    streamed(
        "proxy: arguments quoted twice",
        CALL,
        calls(call('"{\\"city\\": ', 0, "a", "get_weather")),
        calls(call('\\"Paris\\"}"', 0)),
        CALLED,
    ),
    streamed(
        "proxy: Python's quotes",
        CALL,
        calls(call("{'city': ", 0, "a", "get_weather")),
        calls(call("'Paris'}", 0)),
        CALLED,
    ),
    streamed(
        "proxy: no arguments", Meant(calls=(("look", {}),), stop="tool_use"), calls(call("", 0, "a", "look")), CALLED
    ),
    streamed(
        "proxy: null arguments",
        Meant(calls=(("look", {}),), stop="tool_use"),
        calls(call(None, 0, "a", "look")),
        CALLED,
    ),
    streamed(
        "openrouter: a provider failed",
        Meant("Hel", error=502),
        say("Hel"),
        chunk({"content": ""}, "error", error={"code": 502, "message": "Provider returned error"}),
    ),
)

WHOLES: Final = (
    whole("gemini: a call that ends in stop", CALL, completion({"tool_calls": [call(CITY, None, "a", "get_weather")]})),
    whole("cline: success and data around it", HELLO, {"success": True, "data": completion({"content": "Hello"})}),
    whole(
        "copilot: text and calls in two choices",
        Meant("Hello", "", (PARIS,), "tool_use"),
        {
            **completion({}),
            "choices": [
                {"finish_reason": "tool_calls", "message": {"role": "assistant", "content": "Hello"}},
                {
                    "finish_reason": "tool_calls",
                    "message": {"role": "assistant", "tool_calls": [call(CITY, None, "a", "get_weather")]},
                },
            ],
        },
    ),
    whole(
        "mistral: content in parts",
        THOUGHT,
        completion(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
                    {"type": "text", "text": "Hello"},
                ]
            }
        ),
    ),
    whole(
        "minimax: no choices but a status",
        Meant(error=429),
        {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
    ),
    whole(
        "ollama: arguments are an object",
        CALL,
        completion({"tool_calls": [call({"city": "Paris"}, None, "a", "get_weather")]}, "tool_calls"),
    ),
    whole("deepseek: calls in DSML", CALL, completion({"content": DSML})),
    whole("kimi: calls in its markup", CALL, completion({"content": SECTION})),
    whole("glm: calls in its markup", CALL, completion({"content": GLM})),
    whole("vllm: reasoning", THOUGHT, completion({"content": "Hello", "reasoning": "Hm"})),
    whole(
        "proxy: near JSON",
        CALL,
        completion({"tool_calls": [call("{'city': 'Paris',}", None, "a", "get_weather")]}, "tool_calls"),
    ),
    whole("proxy: a missing reason", HELLO, completion({"content": "Hello"}, None)),
    whole("proxy: an error in a 200", Meant(error=429), {"error": {"message": "Rate limit reached", "code": 429}}),
    whole("proxy: a detail in a 200", Meant(error=502), {"detail": "upstream failed"}),
    whole(
        "xai: no text beside calls",
        CALL,
        completion({"content": "", "tool_calls": [call(CITY, None, "a", "get_weather")]}, "tool_calls"),
    ),
)
