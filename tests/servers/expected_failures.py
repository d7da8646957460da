"""Cases that fail today: the sentence, the servers (names by spaces) and the reason.

Each is marked `xfail(strict=True)`, so a change that makes a case pass must remove the server or the row here. Cases
with a varying outcome are not strict.
"""

from typing import Final

IMAGES = "an image for a text model is neither replaced by text nor distinguished from a failure"
NOT_OFFERED = "the parameter is not sent to servers that are not OpenRouter"

EXPECTED_FAILURES: Final[dict[str, tuple[str, str]]] = {
    "a named tool is called though the model prefers another": ("litellm", "the server ignores named choices"),
    "parallel calls come one at a time, or their number is noted": ("litellm", "the server ignores the flag"),
    "a schema with tools, of which none can be called then, is noted": ("litellm", "it is not noted"),
    "a budget of thinking is kept": ("litellm", NOT_OFFERED),
    "a full context is not reported as max_tokens": (
        "llama-cpp-python",
        "the finish reason is the same, and no tokens are counted in streams",
    ),
    "ten turns of claude code with thinking alone": (
        "llama-cpp-python",
        "a stream that fails before its first chunk has no reason, so it cannot be healed",
    ),
}

# What servers do wrong in their other dialects, by dialect: sentences of cases, and the reason.
CHOICES_IGNORED = "the server ignores named and forbidden choices, and the parallel flag"
SETTINGS_IGNORED = "the server ignores thinking that is disabled or adaptive, efforts and output formats"
CONTEXT_HIDDEN = "the server does not report that the context was full"
LEAST_LIMIT = "Responses take no limit below 16 tokens"
FORMATS_IGNORED = "the server ignores `text.format`"
FILES_REFUSED = "the server refuses files by the name of the part"

LLAMA_CPP_FAILURES: Final[dict[str, dict[str, str]]] = {
    "messages": {
        **dict.fromkeys(
            (
                "a named tool is called though the model prefers another",
                "parallel calls come one at a time, or their number is noted",
                "no call comes where calls are forbidden",
            ),
            CHOICES_IGNORED,
        ),
        "a full context is not reported as max_tokens": CONTEXT_HIDDEN,
        **dict.fromkeys(
            (
                "an answer follows a schema",
                "a schema with tools, of which none can be called then, is noted",
                "thinking is off when disabled",
                "thinking is off when disabled, with a call",
                "high effort arrives",
                "low effort arrives beside adaptive thinking",
                "effort beyond the server's words is lowered or noted",
            ),
            SETTINGS_IGNORED,
        ),
        "log probabilities with tools in a stream are left out and noted": "Messages have no log probabilities",
        "a prefill is not repeated": "the server repeats it in JSON",
    },
    "responses": {
        "a PDF becomes a note or is refused by its name": FILES_REFUSED,
        "a call cut by max_tokens ends in max_tokens": LEAST_LIMIT,
        "a full context is not reported as max_tokens": CONTEXT_HIDDEN,
        "an answer follows a schema": FORMATS_IGNORED,
    },
}

WHITE_SPACE = "the server leaves white space around thinking"
PASSED_ON = "the server refuses it, and a native request is not rewritten"
STOPS_BREAK_STREAMS = "stop sequences break the streams of the server's parsers"
NOT_COUNTED = "the server does not count a prompt that is too long on this route"
NOT_CONTINUED = "the server cannot be asked to continue a message on this route"

VLLM_FAILURES: Final[dict[str, dict[str, str]]] = {
    "messages": {
        **dict.fromkeys(
            (
                "thinking and text are separated without white space around them",
                "thinking before a call leaves no text between them",
            ),
            WHITE_SPACE,
        ),
        "the fifth stop sequence is named": PASSED_ON,
        **dict.fromkeys(
            (
                "thinking and text are whole beside the stop sequence '\\n\\nHuman:'",
                "thinking and text are whole beside the stop sequence 'zzzzzz'",
                "thinking and text are whole beside the stop sequence '</tool_call>'",
                "thinking and a call are whole beside the stop sequence '\\n\\nHuman:'",
                "thinking and a call are whole beside the stop sequence 'zzzzzz'",
            ),
            STOPS_BREAK_STREAMS,
        ),
        **dict.fromkeys(
            (
                "an overflow that the server did not count has a plausible number of tokens",
                "an overflow that the server reports in characters has a plausible number of tokens",
            ),
            NOT_COUNTED,
        ),
        "a broken call is completed in both forms": "the server gives it as text",
        "a forced call has the arguments that the schema requires": "the server leaves them out at times",
        "a named tool is called though the model prefers another": "the server's grammar takes input that is no object",
        "a schema with tools, of which none can be called then, is noted": "nothing is noted of a native request",
        "a prefill is continued rather than started again": NOT_CONTINUED,
        "a full context is not reported as max_tokens": "the server reports it so",
    },
    "responses": {
        "a call cut by max_tokens ends in max_tokens": LEAST_LIMIT,
        "a schema word that the grammar lacks is left out and noted": "the server closes the connection",
        "a budget of thinking is kept": "the server takes no budget on this route",
    },
}

# Server, dialect and case: the same request passes and fails in turn.
VARYING: Final = frozenset(
    {
        # Noted where an earlier case was refused a schema, and all that follow are loosened.
        ("llama-cpp", "messages", "a schema with tools, of which none can be called then, is noted"),
        ("vllm", "messages", "a forced call has the arguments that the schema requires"),
        ("vllm", "messages", "a named tool is called though the model prefers another"),
    }
)
DIALECT_FAILURES: Final = {"llama-cpp": LLAMA_CPP_FAILURES, "vllm": VLLM_FAILURES}
