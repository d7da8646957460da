"""Chat completions of self-hosted engines: how they stream calls, and the markup that their parsers leave behind."""

from typing import Any, Final

from tests.e2e.vendor_answers.script import (
    BOTH,
    CALL,
    CALLED,
    CITY,
    HELLO,
    IN_LONDON,
    LONDON,
    LOOK,
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
    say,
    streamed,
    whole,
)


def reason(text: str, **fields: Any) -> Json:
    return chunk({"reasoning_content": text, **fields})


def hermes(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def marked(name: str, markup: str, meant: Meant = CALL) -> tuple[Script, ...]:
    """The same markup in one piece, and in pieces of five characters."""
    pieces = [say(markup[at : at + 5]) for at in range(0, len(markup), 5)]
    return (
        streamed(f"{name}, in one piece", meant, ROLE, say(markup), STOP),
        streamed(f"{name}, in pieces", meant, ROLE, *pieces, STOP),
        whole(name, meant, completion({"content": markup})),
    )


STREAMS: Final = (
    # How calls are streamed
    streamed(
        "engine: the id behind the name",
        CALL,
        calls(call("", 0, None, "get_weather")),
        calls(call("", 0, "a")),
        calls(call(CITY, 0)),
        CALLED,
    ),
    streamed(
        "engine: the name behind the id",
        CALL,
        calls(call("", 0, "a")),
        calls(call(CITY, 0, None, "get_weather")),
        CALLED,
    ),
    streamed(
        "engine: the name behind the arguments",
        CALL,
        calls(call(CITY, 0, "a")),
        calls(call("", 0, None, "get_weather")),
        CALLED,
    ),
    streamed(
        "sglang: arguments that begin anew",
        CALL,
        calls(call("", 0, "a", "get_weather")),
        calls({"index": 0, "id": None, "function": {"name": None, "arguments": CITY[:-1] + CITY}}),
        CALLED,
    ),
    streamed(
        "engine: the name in three pieces",
        CALL,
        *[calls(call("", 0, "a" if name == "get" else None, name)) for name in ("get", "_wea", "ther")],
        calls(call(CITY, 0)),
        CALLED,
    ),
    streamed(
        "engine: the names of two calls in pieces",
        BOTH,
        *[
            calls(call("", index, f"c{index}" if name == "get_" else None, name))
            for index in (0, 1)
            for name in ("get_", "weather")
        ],
        calls(call(CITY, 0), call(IN_LONDON, 1)),
        CALLED,
    ),
    streamed(
        "engine: a call behind one whose name comes last",
        BOTH,
        calls(call(CITY, 0, "a")),
        calls(call(IN_LONDON, 1, "b", "get_weather")),
        calls(call("", 0, None, "get_weather")),
        CALLED,
    ),
    streamed(
        "engine: text between the pieces of a call",
        Meant("Hello", "", (PARIS,), "tool_use"),
        calls(call('{"city":', 0, "a", "get_weather")),
        say("Hello"),
        calls(call(' "Paris"}', 0)),
        CALLED,
    ),
    streamed(
        "engine: thinking between the pieces of a call",
        Meant("", "Hm", (PARIS,), "tool_use"),
        calls(call('{"city":', 0, "a", "get_weather")),
        reason("Hm"),
        calls(call(' "Paris"}', 0)),
        CALLED,
    ),
    streamed(
        "engine: thinking behind a call",
        Meant("", "Hm", (PARIS,), "tool_use"),
        calls(call(CITY, 0, "a", "get_weather")),
        reason("Hm"),
        CALLED,
    ),
    streamed(
        "engine: thinking before and behind the text",
        Meant("Hello", "Hm so"),
        reason("Hm"),
        say("Hello"),
        reason(" so"),
        STOP,
    ),
    streamed(
        "engine: thinking between two calls",
        Meant("", "Hm", (PARIS, LONDON), "tool_use"),
        calls(call(CITY, 0, "a", "get_weather")),
        reason("Hm"),
        calls(call(IN_LONDON, 1, "b", "get_weather")),
        CALLED,
    ),
    streamed(
        "engine: pieces of two calls in turn",
        BOTH,
        calls(call("", 0, "a", "get_weather"), call("", 1, "b", "get_weather")),
        calls(call('{"city": ', 0), call('{"city": ', 1)),
        calls(call('"Paris"}', 0), call('"London"}', 1)),
        CALLED,
    ),
    streamed(
        "engine: two pieces of a call in one chunk",
        CALL,
        calls(call("", 0, "a", "get_weather"), call('{"city": ', 0), call('"Paris"}', 0)),
        CALLED,
    ),
    streamed(
        "sglang: the arguments in an entry of nulls",
        CALL,
        calls(
            call("", 0, "a", "get_weather"),
            {"index": 0, "id": None, "function": {"name": None, "arguments": CITY}},
        ),
        CALLED,
    ),
    streamed(
        "vllm: the arguments whole again at the end",
        CALL,
        calls(call('{"city": ', 0, "a", "get_weather")),
        calls(call('"Paris"}', 0)),
        calls(call(CITY, 0)),
        CALLED,
    ),
    streamed(
        "vllm: the name again at the end",
        CALL,
        calls(call(CITY, 0, "a", "get_weather")),
        calls(call("", 0, "a", "get_weather"), finish="tool_calls"),
    ),
    streamed(
        "vllm: the rest of the arguments beside the reason",
        CALL,
        calls(call('{"city": ', 0, "a", "get_weather")),
        calls(call('"Paris"}', 0), finish="tool_calls"),
    ),
    streamed(
        "vllm: no arguments for a tool without any",
        LOOK,
        calls({"index": 0, "id": "a", "type": "function", "function": {"name": "look"}}),
        CALLED,
    ),
    streamed("vllm: white space as arguments", LOOK, calls(call(" \n", 0, "a", "look")), CALLED),
    streamed(
        "vllm: usage beside each chunk",
        Meant("Hello", output=4),
        say("Hel", usage={**USAGE["usage"], "completion_tokens": 2}),
        say("lo", usage=USAGE["usage"]),
        STOP,
        USAGE,
    ),
    streamed(
        "vllm: an empty chunk in front, then role and nulls",
        HELLO,
        chunk({"role": "assistant", "content": None, "reasoning_content": None}),
        chunk({"content": None, "reasoning_content": None}),
        say("Hello"),
        STOP,
    ),
    streamed("vllm: repeats itself", Meant("Hel", stop="end_turn"), say("Hel"), chunk({}, "repetition")),
    streamed("vllm: a failure of the engine", Meant("Hel", error=502), say("Hel"), chunk({}, "error")),
    streamed("tgi: the token of the end", HELLO, say("Hello"), chunk({}, "eos_token")),
    streamed("tgi: calls are an object", CALL, chunk({"tool_calls": call(CITY, 0, "a", "get_weather")}), CALLED),
    streamed("tgi: overloaded", Meant(error=529), {"error": "Model is overloaded", "error_type": "overloaded"}),
    streamed(
        "tgi: a failure with its kind",
        Meant(error=502),
        ROLE,
        {"error": "Request failed during generation: Server error", "error_type": "generation"},
    ),
    streamed("tensorrt: the word for the end", HELLO, say("Hello"), chunk({}, "end_id")),
    streamed(
        "lmdeploy: the limit by another word", Meant("Hel", stop="max_tokens"), say("Hel"), chunk({}, "max_tokens")
    ),
    streamed(
        "llamacpp: progress of the prompt",
        HELLO,
        chunk(
            {"role": "assistant", "content": None},
            prompt_progress={"total": 9, "cache": 0, "processed": 4, "time_ms": 3},
        ),
        say("Hello"),
        STOP,
    ),
    streamed(
        "llamacpp: a failure on a line of its own",
        Meant("Hel", error=502),
        say("Hel"),
        b'{"error":{"code":500,"message":"context shift is disabled","type":"server_error"}}\n\n',
        done=False,
    ),
    streamed(
        "llamacpp: the context is full",
        Meant("Hel", error=400),
        say("Hel"),
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size",
                "type": "exceed_context_size_error",
            }
        },
    ),
    peculiar(
        streamed(
            "ollama: thinking under its own name",
            THOUGHT,
            chunk({"role": "assistant", "content": "", "thinking": "Hm"}),
            say("Hello"),
            STOP,
        )
    ),
    streamed(
        "ollama: an error as a text",
        Meant("Hel", error=502),
        say("Hel"),
        {"error": "an error was encountered while running the model: unexpected EOF"},
    ),
    streamed("lmstudio: the reason by its own words", HELLO, say("Hello"), chunk({}, "eosFound")),
    streamed(
        "lmstudio: the limit by its own words",
        Meant("Hel", stop="max_tokens"),
        say("Hel"),
        chunk({}, "maxPredictedTokensReached"),
    ),
    streamed(
        "mlx: a call with the reason of a text",
        CALL,
        calls({"function": {"name": "get_weather", "arguments": CITY}, "type": "function", "id": "a"}),
        STOP,
    ),
    streamed(
        "mlx: nulls for text beside thinking",
        THOUGHT,
        chunk({"role": "assistant", "content": "", "reasoning": "Hm", "tool_calls": []}),
        chunk({"role": "assistant", "content": "Hello", "reasoning": "", "tool_calls": []}),
        STOP,
    ),
    # Arguments
    streamed(
        "model: a mark of the end behind the arguments",
        CALL,
        calls(call(f"{CITY}<|im_end|>", 0, "a", "get_weather")),
        CALLED,
    ),
    streamed(
        "model: a mark of the call behind the arguments",
        CALL,
        calls(call(f"{CITY}<|call|>", 0, "a", "get_weather")),
        CALLED,
    ),
    # Names
    streamed("model: a name with its namespace", CALL, calls(call(CITY, 0, "a", "functions.get_weather")), CALLED),
    streamed("gemini: a name with its API", CALL, calls(call(CITY, 0, "a", "default_api.get_weather")), CALLED),
    streamed("kimi: a name with its number", CALL, calls(call(CITY, 0, "a", "functions.get_weather:0")), CALLED),
    streamed("gpt-oss: a name with its channel", CALL, calls(call(CITY, 0, "a", "get_weather<|channel|>json")), CALLED),
    streamed(
        "gpt-oss: a name behind the role",
        CALL,
        calls(call(CITY, 0, "a", "assistant<|channel|>commentary to=functions.get_weather")),
        CALLED,
    ),
    streamed("model: a name in other letters", CALL, calls(call(CITY, 0, "a", "Get_Weather")), CALLED),
    streamed("model: a name with hyphens", CALL, calls(call(CITY, 0, "a", "get-weather")), CALLED),
    streamed("model: a name with spaces around", CALL, calls(call(CITY, 0, "a", " get_weather\n")), CALLED),
    streamed("model: a name in quotes", CALL, calls(call(CITY, 0, "a", '"get_weather"')), CALLED),
    # Thinking in the text
    streamed("tags: a thought, cut", Meant("", "Hm", stop="max_tokens"), say("<think>Hm"), chunk({}, "length")),
    streamed("tags: an empty thought", HELLO, say("<think>\n\n</think>\n\n"), say("Hello"), STOP),
    streamed("tags: thought", THOUGHT, say("<thought>Hm</thought>Hello"), STOP),
    streamed("tags: reasoning", THOUGHT, say("<reasoning>Hm</reasoning>Hello"), STOP),
    streamed("tags: Magistral's", THOUGHT, say("[THINK]Hm[/THINK]Hello"), STOP),
    streamed("tags: Seed's", THOUGHT, say("<seed:think>Hm</seed:think>Hello"), STOP),
    streamed(
        "tags: a thought behind a blank line", THOUGHT, say("\n"), say("<think>\n"), say("Hm\n</think>\n\nHello"), STOP
    ),
    streamed(
        "tags: a second thought stays text",
        Meant("Hello<think>so</think>", "Hm"),
        say("<think>Hm</think>Hello<think>so</think>"),
        STOP,
    ),
    streamed(
        "tags: the end of a thought behind thinking", THOUGHT, reason("Hm"), say("</think>"), say("\n\nHello"), STOP
    ),
    peculiar(
        streamed(
            "tags: a thought, then calls",
            Meant("", "Hm", (PARIS,), "tool_use"),
            say("<think>Hm</think>"),
            calls(call(CITY, 0, "a", "get_weather")),
            CALLED,
        )
    ),
    peculiar(
        streamed(
            "tags: a thought, then calls in markup",
            Meant("", "Hm", (PARIS,), "tool_use"),
            say(f'<think>Hm</think>\n<tool_call>\n{{"name": "get_weather", "arguments": {CITY}}}\n</tool_call>'),
            STOP,
        )
    ),
)
MARKUP: Final = (
    *marked("mistral: calls as a list", '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Paris"}}]'),
    *marked("mistral: a call by name", f"[TOOL_CALLS]get_weather[ARGS]{CITY}"),
    *marked("llama: a call behind the mark", '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris"}}'),
    *marked("granite: calls as a list", '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]'),
    *marked(
        "granite: calls in tags", '<|tool_call|>{"name": "get_weather", "arguments": {"city": "Paris"}}<|/tool_call|>'
    ),
    *marked(
        "hunyuan: calls as a list in tags",
        '<tool_calls>[{"name": "get_weather", "arguments": {"city": "Paris"}}]</tool_calls>',
    ),
    *marked(
        "nemotron: calls as a list in tags",
        '<TOOLCALL>[{"name": "get_weather", "arguments": {"city": "Paris"}}]</TOOLCALL>',
    ),
    *marked(
        "command: an action",
        '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "get_weather", '
        '"parameters": {"city": "Paris"}}]<|END_ACTION|>',
    ),
    *marked(
        "functiongemma: a call", "<start_function_call>call:get_weather{city:<escape>Paris<escape>}<end_function_call>"
    ),
    *marked("gemma 4: a call", '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>'),
    *marked(
        "claude: a call",
        '<function_calls>\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n</invoke>\n'
        "</function_calls>",
    ),
    *marked(
        "step: a call",
        '<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="get_weather">'
        '<steptml:parameter name="city">Paris</steptml:parameter></steptml:invoke>'
        "<｜tool_call_end｜><｜tool_calls_end｜>",
    ),
    *marked(
        "deepseek 3: a call",
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{CITY}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    *marked(
        "deepseek 3.1: a call",
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{CITY}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    *marked(
        "glm 4.7: a call on one line",
        "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Paris</arg_value></tool_call>",
    ),
    *marked("hermes: the end is missing", f'<tool_call>\n{{"name": "get_weather", "arguments": {CITY}}}'),
    *marked(
        "hermes: two calls",
        hermes("get_weather", CITY) + "\n" + hermes("get_weather", IN_LONDON),
        BOTH,
    ),
    *marked(
        "internlm: an action",
        f'<|action_start|><|plugin|>{{"name": "get_weather", "parameters": {CITY}}}<|action_end|>',
    ),
    *marked(
        "qwen: the tag in front is missing",
        "<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>",
    ),
)
