"""Wordings of refusals, as servers send them, and the adaptation that each asks for."""

from typing import Any

import orjson
import pytest

from gateway.dialects.chat.request.convert import Conversion
from gateway.dialects.chat.request.fallbacks.apply import REWRITES, adapted
from gateway.dialects.chat.request.fallbacks.refusals import to_adaptation
from gateway.dialects.chat.response.errors.client_error import to_error
from gateway.upstream.vendors.adaptation import KINDS, Adaptation
from tests.support.conversions import STRICT
from tests.support.streams import reply

CALL = {"id": "call_0123456789", "type": "function", "function": {"name": "look", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}
SCHEMA = {
    "type": "object",
    "required": ["n", "absent"],
    "properties": {
        "n": {"type": "integer", "exclusiveMinimum": 0, "enum": [1, 2]},
        "word": {"type": "string", "enum": ["a", ""]},
        "open": {"type": "object", "properties": {}},
        "url": {"type": "string", "format": "uri", "pattern": "^h"},
        "tags": {"type": "array", "uniqueItems": True, "minItems": 1},
        "any": True,
        "kind": {"type": ["string", "null"], "default": "a"},
        "self": {"$ref": "#"},
    },
    "propertyNames": {"pattern": "^[a-z]"},
}
TOOL = {"type": "function", "function": {"name": "look", "description": "d" * 2000, "parameters": SCHEMA}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "output", "strict": False, "schema": SCHEMA}}

# A request that has everything that may be refused.
BODY: dict[str, Any] = {
    "model": "m",
    "max_tokens": 32_000,
    "temperature": 0.2,
    "top_p": 0.9,
    "top_k": 5,
    "min_p": 0.1,
    "user": "u1",
    "metadata": {"a": "b"},
    "store": False,
    "seed": 1,
    "verbosity": "low",
    "logprobs": True,
    "top_logprobs": 3,
    "parallel_tool_calls": False,
    "reasoning_effort": "max",
    "thinking_token_budget": 1024,
    "stop": ["a", "b", "c", "d", "e"],
    "stream_options": {"include_usage": True},
    "prompt_cache_key": "s",
    "tools": [TOOL],
    "tool_choice": "required",
    "response_format": FORMAT,
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Look"}, IMAGE, FILE]},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "Hmm."},
        {"role": "tool", "tool_call_id": "call_0123456789", "content": "done"},
        {"role": "user", "content": "Well?"},
        {"role": "assistant", "content": "So"},
        {"role": "system", "content": "Hurry."},
        {"role": "user", "content": "Go on."},
    ],
}


def asked_for(status: int, body: Any, **changes: Any) -> Adaptation | None:
    raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
    changed = {name: value for name, value in {**BODY, **changes}.items() if value is not None}
    error = to_error(status, {}, raw, reply())
    return to_adaptation(error, Conversion(changed), STRICT)  # type: ignore[arg-type]


def openai(message: str, param: str | None = None, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, **more}}


def mistral(*place: str) -> dict[str, Any]:
    fault = {"type": "extra_forbidden", "loc": ["body", *place], "msg": "Extra inputs are not permitted", "input": "x"}
    return {"object": "error", "message": {"detail": [fault]}, "type": "invalid_request_error"}


DROPPED = {
    "OpenAI, a value": (
        400,
        openai(
            "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is "
            "supported.",
            "temperature",
            code="unsupported_value",
        ),
        ("temperature",),
    ),
    "OpenAI, a parameter": (
        400,
        openai("Unsupported parameter: 'top_p' is not supported with this model.", "top_p"),
        ("top_p",),
    ),
    "OpenAI, earlier": (400, openai("Unrecognized request argument supplied: reasoning_effort"), ("reasoning_effort",)),
    "Kimi": (400, openai("invalid temperature: only 1 is allowed for this model"), ("temperature",)),
    "Mistral": (422, mistral("user"), ("user",)),
    "Mistral, as text within text": (
        422,
        {"object": "error", "message": orjson.dumps(mistral("metadata")["message"]).decode(), "code": "1000"},
        ("metadata",),
    ),
    "vLLM, earlier: a Python list in a text": (
        400,
        {
            "object": "error",
            "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'min_p'), 'msg': 'Extra inputs are not permitted'"
            ", 'input': 0.1}]",
            "type": "BadRequestError",
        },
        ("min_p",),
    ),
    "FastAPI": (422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}, ("seed",)),
    "FastAPI, another list": (
        422,
        {"detail": "Validation Error", "errors": [{"loc": "body -> seed", "msg": "extra fields not permitted"}]},
        ("seed",),
    ),
    "Groq": (400, openai("property 'store' is unsupported, did you mean 'stop'?"), ("store",)),
    "transformers serve": (
        422,
        {"detail": "Unexpected fields in the request: {'top_k', 'min_p'}"},
        ("min_p", "top_k"),
    ),
    "LiteLLM": (
        400,
        openai(
            "litellm.UnsupportedParamsError: openai does not support parameters: ['verbosity'], for model=scripted. To "
            "drop these, set `litellm.drop_params=True`",
            code="400",
        ),
        ("verbosity",),
    ),
    "LiteLLM, around a server's words": (
        400,
        openai(
            'litellm.BadRequestError: OpenAIException - {"error":{"message":"Unknown parameter: \'prompt_cache_key\'.",'
            '"param":"prompt_cache_key"}}. Received Model Group=m\nAvailable Model Group Fallbacks=None'
        ),
        ("prompt_cache_key",),
    ),
    "llama.cpp": (400, openai("logprobs is not supported with tools + stream"), ("logprobs",)),
    "vLLM without a reasoning parser": (
        400,
        openai("thinking_token_budget is set but reasoning_config is not configured. Please set it."),
        ("thinking_token_budget",),
    ),
    "Zhipu, by another name": (
        400,
        {"error": {"code": "1214", "message": "the field 'user_id' is not supported"}},
        ("user",),
    ),
    "Claude": (400, openai("`temperature` and `top_p` cannot both be specified for this model."), ("top_p",)),
    "Go": (400, {"error": 'json: unknown field "stream_options"'}, ("stream_options",)),
    "a wrapped 500": (500, {"error": {"message": orjson.dumps(mistral("user")).decode()}}, ("user",)),
    "plain text": (400, "parallel_tool_calls is not supported by this model", ("parallel_tool_calls",)),
}


@pytest.mark.parametrize("who", DROPPED)
@pytest.mark.covers("Errors · refused parameters are learned and left out")
def test_a_field_that_is_named_is_left_out(who: str) -> None:
    status, body, names = DROPPED[who]
    assert asked_for(status, body) == Adaptation("drop_fields", names)


def test_a_field_refused_for_its_value_is_left_out_for_once() -> None:
    found = asked_for(400, openai("seed must be even", "seed"))
    assert found == Adaptation("drop_fields", ("seed",), lasting=False)


ADAPTED: dict[str, tuple[int, Any, Adaptation]] = {
    # Reasoning that is given back.
    "Kimi wants reasoning": (
        400,
        openai("thinking is enabled but reasoning_content is missing in assistant tool call message at index 1"),
        Adaptation("fill_reasoning", ("reasoning_content",)),
    ),
    "DeepSeek wants reasoning": (
        400,
        openai("The `reasoning_content` in the thinking mode must be passed back to the API."),
        Adaptation("fill_reasoning", ("reasoning_content",)),
    ),
    "Gemini wants signatures": (
        400,
        [openai("Function call is missing a thought_signature in functionCall parts.")],
        Adaptation("sign_calls"),
    ),
    "Groq knows no reasoning": (
        400,
        openai(
            "'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property "
            "'reasoning_content' is unsupported)]"
        ),
        Adaptation("drop_nested", ("reasoning_content",)),
    ),
    "Cerebras knows no reasoning": (
        400,
        {
            "message": "messages.2.assistant.reasoning_content: property 'messages.2.assistant.reasoning_content' is "
            "unsupported",
            "param": "validation_error",
        },
        Adaptation("drop_nested", ("reasoning_content",)),
    ),
    "Mistral knows no reasoning": (
        422,
        mistral("messages", "31", "assistant", "reasoning_content"),
        Adaptation("drop_nested", ("reasoning_content",)),
    ),
    # Reasoning that is asked for.
    "OpenAI, tools and an effort": (
        400,
        openai(
            "Function tools with reasoning_effort are not supported for gpt-5.6-terra in /v1/chat/completions. To use "
            "function tools, use /v1/responses or set reasoning_effort to 'none'.",
            "reasoning_effort",
        ),
        Adaptation("effort_none_with_tools"),
    ),
    "OpenAI, efforts": (
        400,
        openai(
            "Unsupported value: 'max' is not supported with the 'gpt-5.1' model. Supported values are: 'none', 'low', "
            "'medium', and 'high'.",
            "reasoning_effort",
        ),
        Adaptation("efforts", ("none", "low", "medium", "high")),
    ),
    "Kimi, efforts": (
        400,
        {
            "detail": 'Invalid request: {"detail":{"error":{"message":"1 validation error: reasoning_effort: expected '
            "one of 'low' | 'medium' | 'high', received 'max'\"}}}"
        },
        Adaptation("efforts", ("low", "medium", "high")),
    ),
    "SGLang, efforts": (
        400,
        {
            "object": "error",
            "message": "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'reasoning_effort'), 'msg': "
            "\"Input should be 'low', 'medium' or 'high'\", 'input': 'max'}\n\n  File \"/sgl/http_server.py\", line 1",
        },
        Adaptation("efforts", ("low", "medium", "high")),
    ),
    "Gemini, efforts": (
        400,
        openai("Invalid reasoning_effort: max. Valid values are: high, low, medium, none"),
        Adaptation("efforts", ("none", "low", "medium", "high")),
    ),
    "Groq, efforts": (
        400,
        openai("`reasoning_effort` must be one of `none` or `default`"),
        Adaptation("efforts", ("none", "default")),
    ),
    # Roles and turns.
    "vLLM, a system message in the middle": (
        400,
        openai("System message must be at the beginning."),
        Adaptation("system_as_user"),
    ),
    "llama.cpp, a system message in the middle": (
        500,
        openai(
            "Unable to generate parser for this template. Automatic parser generation failed: \n------------\nWhile "
            "executing CallExpression at line 1\nError: Jinja Exception: System message must be at the beginning."
        ),
        Adaptation("system_as_user"),
    ),
    "LiteLLM, a system message in the middle": (
        400,
        openai(
            "litellm.BadRequestError: OpenAIException - System message must be at the beginning.\n\nLiteLLM: model "
            "group 'scripted' failed with the error above. No fallback was attempted."
        ),
        Adaptation("system_as_user"),
    ),
    "Gemma, no system message": (400, openai("System role not supported"), Adaptation("no_system")),
    "OpenAI, no system message": (
        400,
        openai("Unsupported value: 'messages[0].role' does not support 'system' with this model."),
        Adaptation("no_system"),
    ),
    "Mistral, turns": (
        400,
        openai("Unexpected role 'user' after role 'tool'"),
        Adaptation("alternate_turns"),
    ),
    # Content.
    "llama.cpp, an image": (
        500,
        openai("image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
        Adaptation("media_as_text", ("image_url",)),
    ),
    "vLLM, an image": (
        400,
        openai("scripted is not a multimodal model"),
        Adaptation("media_as_text", ("image_url",)),
    ),
    "vLLM with a limit, an image": (
        400,
        openai("At most 0 image(s) may be provided in one prompt."),
        Adaptation("media_as_text", ("image_url",)),
    ),
    "SGLang, an image": (
        400,
        {"message": "Model only supports text input; received unsupported content type 'image_url'."},
        Adaptation("media_as_text", ("image_url",)),
    ),
    "OpenRouter, an image": (
        404,
        openai("No endpoints found that support image input"),
        Adaptation("media_as_text", ("image_url",)),
    ),
    "Ollama, an image": (
        400,
        openai("this model does not support image input (ref: b8bd630e)"),
        Adaptation("media_as_text", ("image_url",)),
    ),
    "OpenAI, an image": (
        400,
        openai("Invalid content type. image_url is only supported by certain models.", "messages.[0].content.[1].type"),
        Adaptation("media_as_text", ("image_url",)),
    ),
    "DeepSeek, an image": (
        400,
        openai("Failed to deserialize the JSON body: messages[0]: unknown variant `image_url`, expected `text`"),
        Adaptation("media_as_text", ("image_url",)),
    ),
    "in Chinese, an image": (400, openai("该模型不支持图片输入"), Adaptation("media_as_text", ("image_url",))),
    "vLLM, a document": (
        400,
        openai("Unsupported chat content part type: 'file'. Supported types: text"),
        Adaptation("media_as_text", ("file",)),
    ),
    "llama.cpp, a document": (
        400,
        openai("unsupported content[].type"),
        Adaptation("media_as_text", ("file",)),
    ),
    "OpenAI, no content": (
        400,
        openai("Invalid value for 'content': expected a string, got null.", "messages.[1].content"),
        Adaptation("empty_content"),
    ),
    "LM Studio, no content": (
        400,
        {"error": "Invalid 'content': 'content' field must be a string or an array of objects."},
        Adaptation("empty_content"),
    ),
    "llama-cpp-python, no content": (
        500,
        openai("7 validation errors for Request\nbody.messages.1.content\n  Input should be a valid string"),
        Adaptation("empty_content"),
    ),
    "Go, parts": (
        400,
        openai("json: cannot unmarshal array into Go struct field Message.messages.content of type string"),
        Adaptation("flat_content"),
    ),
    "Rust, parts": (
        422,
        "Failed to deserialize: messages[1].content: invalid type: sequence, expected a string",
        Adaptation("flat_content"),
    ),
    "Groq, parts": (
        400,
        openai(
            "'messages.1' : for 'role:user' the following must be satisfied[('messages.1.content' : value must be a "
            "string)]"
        ),
        Adaptation("flat_content"),
    ),
    "Mistral, ids": (
        400,
        openai("Tool call id was call_0123456789 but must be a-z, A-Z, 0-9, with a length of 9."),
        Adaptation("short_ids"),
    ),
    # Lengths.
    "OpenAI, the length's name": (
        400,
        openai(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.",
            "max_tokens",
        ),
        Adaptation("length_field", ("max_completion_tokens",)),
    ),
    "vLLM, the length": (
        400,
        openai("max_tokens=32000 cannot be greater than max_model_len=8192. Please request fewer output tokens."),
        Adaptation("max_tokens", limit=8192),
    ),
    "SGLang, the length": (
        400,
        openai(
            "max_completion_tokens is too large: 32000.This model supports at most 8192 completion tokens, whereas you "
            "provided 32000."
        ),
        Adaptation("max_tokens", limit=8192),
    ),
    "SGLang, an answer that was to fill the context": (
        400,
        openai(
            "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of "
            "8261 tokens: 69 tokens from the input messages and 8192 tokens for the completion."
        ),
        Adaptation("max_tokens", limit=8123, lasting=False),
    ),
    "DeepSeek, the length": (
        400,
        openai("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
        Adaptation("max_tokens", limit=8192),
    ),
    "DashScope, the length": (
        400,
        openai("<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]"),
        Adaptation("max_tokens", limit=8192),
    ),
    "another, the length": (
        400,
        openai("max_tokens (current value: 32000) must be between 0 and 4000 "),
        Adaptation("max_tokens", limit=4000),
    ),
    "Groq, the length": (
        400,
        openai(
            "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the "
            "`context_window` for this model"
        ),
        Adaptation("max_tokens", limit=8192),
    ),
    "Vertex, the length": (
        400,
        openai(
            "Unable to submit request because it has a maxOutputTokens value of 32000 but the supported range is from "
            "1 (inclusive) to 8193 (exclusive)."
        ),
        Adaptation("max_tokens", limit=8192),
    ),
    "Claude, the length": (
        400,
        openai("max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens for claude-x"),
        Adaptation("max_tokens", limit=8192),
    ),
    "vLLM, stop sequences": (
        400,
        {
            "error": {
                "message": "1 validation errors:\n  {'type': 'too_long', 'loc': 'body.stop', 'msg': 'List should have "
                "at most 4 items after validation, not 5'}",
                "type": "Bad Request",
            }
        },
        Adaptation("cut_stops", limit=4),
    ),
    "xAI, stop sequences": (
        400,
        {"error": "Argument not supported on this model: stop"},
        Adaptation("cut_stops"),
    ),
    # Tools.
    "OpenAI, a description": (
        400,
        openai(
            "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024, but "
            "got a string with length 2000 instead.",
            "tools[0].function.description",
        ),
        Adaptation("cut_descriptions", limit=1024),
    ),
    "DashScope, a choice": (
        400,
        openai(
            "<400> InternalError.Algo.InvalidParameter: The tool_choice parameter does not support being set to "
            "required or object in thinking mode"
        ),
        Adaptation("auto_choice"),
    ),
    "a choice": (400, openai("tool_choice 'required' is not supported"), Adaptation("auto_choice")),
    # Formats.
    "DeepSeek, a schema": (
        400,
        openai("This response_format type is unavailable now"),
        Adaptation("json_object"),
    ),
    "llama-cpp-python, a schema": (
        500,
        openai(
            "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': "
            "\"Input should be 'text' or 'json_object'\"}]"
        ),
        Adaptation("json_object", ("schema",)),
    ),
    "Groq, JSON with tools": (
        400,
        openai("json mode cannot be combined with tool/function calling"),
        Adaptation("format_in_prompt"),
    ),
    # Schemas.
    "Gemini, words": (
        400,
        [
            openai(
                'Invalid JSON payload received. Unknown name "exclusiveMinimum" at \'tools[0].function_declarations[0].'
                "parameters.properties[0].value': Cannot find field.\nInvalid JSON payload received. Unknown name "
                "\"propertyNames\" at 'tools[0].function_declarations[0].parameters': Cannot find field."
            )
        ],
        Adaptation("schema_words", ("exclusiveMinimum", "propertyNames")),
    ),
    "vLLM, words": (
        400,
        openai('Grammar error: Unimplemented keys: ["uniqueItems"]'),
        Adaptation("schema_words", ("uniqueItems",)),
    ),
    "Cerebras, words": (
        400,
        {"message": "Unsupported JSON schema fields: {'minItems', 'items'}", "param": "response_format"},
        Adaptation("schema_words", ("minItems",)),
    ),
    "OpenAI, a part": (
        400,
        openai("Invalid value: 'image_url'. Supported values are: 'text'."),
        Adaptation("media_as_text", ("image_url",)),
    ),
    "Gemma on Gemini": (
        400,
        [openai("Developer instruction is not enabled for models/gemma-3-27b-it")],
        Adaptation("no_system"),
    ),
    "Gemma on Gemini, JSON": (
        400,
        [openai("JSON mode is not enabled for models/gemma-3-27b-it")],
        Adaptation("format_in_prompt"),
    ),
    "Gemini, an any_of": (
        400,
        [
            openai(
                "Unable to submit request because `look` functionDeclaration `parameters.kind` schema specified other "
                "fields alongside any_of. When using any_of, it must be the only field set."
            )
        ],
        Adaptation("bare_schemas"),
    ),
    "DeepSeek's R1, thinking that is given back": (
        400,
        openai("Please remove the reasoning_content from your message to reduce network traffic."),
        Adaptation("drop_nested", ("reasoning_content",)),
    ),
    "Bedrock, an id": (
        400,
        {
            "message": "1 validation error detected: Value 'functions.Bash:0' at 'messages.2.member.content.1.member."
            "toolUse.toolUseId' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+"
        },
        Adaptation("short_ids"),
    ),
    "OpenAI, a long id": (
        400,
        openai("Invalid 'messages[3].tool_calls[0].id': string too long. Expected a string with maximum length 40"),
        Adaptation("short_ids"),
    ),
    "Zhipu, a limit": (400, openai("max_tokens 超过限制，最大为 16384"), Adaptation("max_tokens", limit=16384)),
    "Zhipu, a range": (
        400,
        openai("temperature 参数非法。取值范围是(0.0, 1.0)"),
        Adaptation("drop_fields", ("temperature",), lasting=False),
    ),
    "xAI, a name": (
        400,
        {"code": "Client specified an invalid argument", "error": "Model grok-4 does not support reasoningEffort."},
        Adaptation("drop_fields", ("reasoning_effort",)),
    ),
    "xAI, a place in Responses": (
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "Argument not supported on this model: reasoning.effort",
        },
        Adaptation("drop_fields", ("reasoning_effort",)),
    ),
    "Cloudflare, contents": (
        400,
        {
            "errors": [
                {"message": "AiError: Bad input: Type mismatch of '/messages/0/content', 'array' not in 'string'"}
            ]
        },
        Adaptation("flat_content"),
    ),
    "Groq, a word": (
        400,
        openai("invalid schema for response format: response_format/json_schema/next_step: minItems is not supported"),
        Adaptation("schema_words", ("minItems",)),
    ),
    "OpenAI, a word": (
        400,
        openai("Invalid schema for function 'look': In context=('properties', 'kind'), 'default' is not permitted."),
        Adaptation("schema_words", ("default",)),
    ),
    "vLLM, a format": (
        400,
        openai("Grammar error: Unknown format: uri"),
        Adaptation("schema_formats", ("uri",)),
    ),
    "OpenAI, a format": (
        400,
        openai("Invalid schema for function 'look': In context=('properties', 'url'), 'uri' is not a valid format."),
        Adaptation("schema_formats", ("uri",)),
    ),
    "vLLM, a pattern": (400, openai("Grammar error: regex parse error: x"), Adaptation("schema_formats")),
    "Gemini, types": (
        400,
        [openai("Proto field is not repeating, cannot start list at 'tools[0].function_declarations[0].parameters'")],
        Adaptation("single_types"),
    ),
    "Gemini, an enumeration": (
        400,
        [
            openai(
                "* GenerateContentRequest.tools[0].function_declarations[0].parameters.properties[a].enum[2]: "
                "cannot be empty"
            )
        ],
        Adaptation("narrow_schemas"),
    ),
    "Gemini, an enumeration of numbers": (
        400,
        [
            openai(
                "Invalid value at 'tools[0].function_declarations[0].parameters.properties[0].enum[0]' (TYPE_STRING), 2"
            )
        ],
        Adaptation("narrow_schemas"),
    ),
    "llama.cpp, a grammar": (
        400,
        openai("Failed to initialize samplers: failed to parse grammar"),
        Adaptation("bare_schemas"),
    ),
    "Ollama, a level of thinking": (
        400,
        openai('think value "max" is not supported for this model'),
        Adaptation("drop_fields", ("reasoning_effort", "thinking_token_budget")),
    ),
    "Gemini, any schema": (
        400,
        [{"error": {"code": 400, "message": "Request contains an invalid argument.", "status": "INVALID_ARGUMENT"}}],
        Adaptation("bare_schemas"),
    ),
    "Gemini, a result's name": (
        400,
        [openai("* GenerateContentRequest.contents[2].parts[0].function_response.name: Name cannot be empty.")],
        Adaptation("name_results"),
    ),
    "Gemini, a level of thinking": (
        400,
        [openai("Thinking level MAX is not supported for this model. Please retry with other thinking level.")],
        Adaptation("efforts", ("minimal", "low", "medium", "high", "xhigh")),
    ),
    "vLLM, a file": (400, openai("Unknown part type: file"), Adaptation("media_as_text", ("file",))),
    "llama.cpp, a boolean": (
        400,
        openai(
            "Unable to generate parser for this template. Automatic parser generation failed: JSON schema error at "
            "#/properties/any: schema must be an object"
        ),
        Adaptation("plain_schemas"),
    ),
    "llama.cpp, a reference": (
        400,
        openai(
            "JSON schema error at #/properties/self: unsupported $ref #, only references into the same document "
            "are supported"
        ),
        Adaptation("plain_schemas"),
    ),
    "OpenAI, an array": (
        400,
        openai("Invalid schema for function 'look': In context=('properties', 'tags'), array schema missing items."),
        Adaptation("typed_schemas"),
    ),
    "Novita, the length": (
        400,
        openai("max_tokens (32000) exceeds the maximum allowed value 8192"),
        Adaptation("max_tokens", limit=8192),
    ),
    "MiniMax, the length": (
        400,
        openai("invalid params, max_tokens must be in range (0, 8192]"),
        Adaptation("max_tokens", limit=8192),
    ),
    "Cohere, the length": (
        400,
        {
            "message": "too many tokens: max tokens must be less than or equal to 4000, the maximum output for this "
            "model"
        },
        Adaptation("max_tokens", limit=4000),
    ),
    "Fireworks, the length without stream": (
        400,
        openai("Requests with max_tokens > 4096 must have stream=true"),
        Adaptation("max_tokens", limit=4096),
    ),
    "the length in other words": (
        400,
        openai("The requested number of output tokens 32,000 exceeds the maximum number of output tokens 8,192"),
        Adaptation("max_tokens", limit=8192),
    ),
    "a list of parameters": (
        400,
        openai("Unknown parameters: temperature, top_p, user"),
        Adaptation("drop_fields", ("temperature", "top_p", "user")),
    ),
    "Mistral, a system message behind others": (
        400,
        openai("Expected last role User or Tool (or Assistant with prefix True) for serving but got system"),
        Adaptation("system_as_user"),
    ),
    "MiniMax, a system message behind others": (
        400,
        openai("invalid params, chat content has system role messages in the middle"),
        Adaptation("system_as_user"),
    ),
    "Anthropic, a system message": (
        400,
        openai('messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter'),
        Adaptation("system_as_user"),
    ),
    "a role at an index": (
        400,
        openai("Invalid messages: 'system' role can only appear at index 0"),
        Adaptation("system_as_user"),
    ),
    "an order of roles": (400, openai("invalid role order"), Adaptation("system_as_user")),
    "Zhipu, an image": (
        400,
        openai("messages.content.type 参数非法，取值范围 ['text']"),
        Adaptation("media_as_text", ("file",)),
    ),
    "OpenAI, a file": (
        400,
        openai("Invalid value: 'file'. Supported values are: 'text', 'image_url', 'input_audio'."),
        Adaptation("media_as_text", ("file",)),
    ),
    "Mistral, a file": (
        422,
        openai("Input tag 'file' found using 'type' does not match any of the expected tags: 'text', 'image_url'"),
        Adaptation("media_as_text", ("file",)),
    ),
    "auto only": (400, openai("Only 'auto' is supported for tool_choice"), Adaptation("auto_choice")),
    "Cohere, a choice": (422, {"message": "unrecognized tool choice option 'required'."}, Adaptation("auto_choice")),
    "forced calls": (
        400,
        openai("Forced function calling is not supported for this model"),
        Adaptation("auto_choice"),
    ),
    "Zhipu, a format": (
        400,
        openai("response_format.type 只支持 text 或 json_object"),
        Adaptation("json_object"),
    ),
    "Azure, a format": (
        400,
        openai("response_format value as json_schema is enabled only for api versions 2024-08-01-preview and later"),
        Adaptation("json_object"),
    ),
    "Fireworks, a word": (
        400,
        openai("JSON Schema not supported: could not understand the instance `{'propertyNames': {'pattern': 'x'}}`."),
        Adaptation("bare_schemas"),
    ),
    "a list of types": (
        400,
        openai("tools[0].function.parameters.properties.kind.type: must be a string, got array"),
        Adaptation("single_types"),
    ),
    "Ollama, thinking": (
        400,
        {"error": '"qwen2" does not support thinking'},
        Adaptation("drop_fields", ("reasoning_effort", "thinking_token_budget")),
    ),
    "Go, no content": (400, openai("invalid message content type: <nil>"), Adaptation("empty_content")),
    "Kimi, a schema": (
        400,
        openai("tools.function.parameters is not a valid moonshot flavored json schema, details: <something>"),
        Adaptation("bare_schemas"),
    ),
}


@pytest.mark.parametrize("case", ADAPTED)
def test_a_refusal_asks_for(case: str) -> None:
    status, body, adaptation = ADAPTED[case]
    changes = {"response_format": None} if adaptation.kind in ("auto_choice", "lone_tool") else {}
    assert asked_for(status, body, **changes) == adaptation


FOUND = [adaptation for _, _, adaptation in ADAPTED.values()] + [
    Adaptation("drop_fields", names) for _, _, names in DROPPED.values()
]


@pytest.mark.parametrize("adaptation", dict.fromkeys(FOUND), ids=str)
def test_an_adaptation_changes_a_request_once_and_leaves_the_first_body_alone(adaptation: Adaptation) -> None:
    before = orjson.dumps(BODY)
    first = adapted(Conversion(BODY), [adaptation])  # type: ignore[arg-type]
    assert first.body is not BODY
    assert adapted(first, [adaptation]) is first
    assert orjson.dumps(BODY) == before


def test_a_named_tool_that_lm_studio_refuses_becomes_the_only_one() -> None:
    refusal = {"error": "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"}
    choice = {"type": "function", "function": {"name": "look"}}
    assert asked_for(400, refusal, tool_choice=choice, response_format=None) == Adaptation("lone_tool")


THOUGHT_ONLY = [
    {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "Well?"}]},
    {"role": "assistant", "content": ""},
    {"role": "user", "content": "And?"},
]


@pytest.mark.parametrize(
    "words",
    [
        "messages: text content blocks must be non-empty",
        "Assistant message must have either content or tool_calls, but not none.",
        "Invalid request: the message at position 1 with role 'assistant' must not be empty",
    ],
)
def test_a_message_without_content_that_is_refused_gets_a_word(words: str) -> None:
    adaptation = asked_for(400, openai(words), messages=THOUGHT_ONLY)
    assert adaptation == Adaptation("fill_empty")
    messages: Any = adapted(Conversion({**BODY, "messages": THOUGHT_ONLY}), [adaptation]).body["messages"]  # type: ignore[typeddict-item]
    assert [message["content"] for message in messages] == [[{"type": "text", "text": "Well?"}], "[no text]", "And?"]


@pytest.mark.parametrize(
    "words",
    [
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        "Bedrock doesn't support tool calling without `tools=` param specified.",
    ],
)
def test_calls_of_a_conversation_without_tools_are_declared_where_the_upstream_demands_it(words: str) -> None:
    changes = {"tools": None, "tool_choice": None, "parallel_tool_calls": None}
    adaptation = asked_for(400, openai(words), **changes)
    assert adaptation == Adaptation("declare_tools")
    rest = {name: value for name, value in BODY.items() if name not in changes}
    body: Any = adapted(Conversion(rest), [adaptation]).body  # type: ignore[arg-type]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["look"]
    assert body["tool_choice"] == "none"


@pytest.mark.parametrize(
    ("words", "off"),
    [
        ("invalid thinking: only type=enabled is allowed for this model", {"thinking": {"type": "disabled"}}),
        ("The value of the enable_thinking parameter is restricted to True.", {"enable_thinking": False}),
    ],
)
def test_thinking_that_cannot_be_off_is_left_on(words: str, off: dict[str, Any]) -> None:
    assert asked_for(400, openai(words), reasoning_effort=None, **off) == Adaptation("keep_thinking")


def test_a_forced_call_that_thinking_excludes_is_left_to_the_model() -> None:
    refusal = openai("tool_choice 'specified' is incompatible with thinking enabled")
    choice = {"type": "function", "function": {"name": "look"}}
    assert asked_for(400, refusal, tool_choice=choice, response_format=None) == Adaptation("auto_choice")


def test_a_json_object_that_needs_its_word_gets_it_in_the_prompt() -> None:
    refusal = openai(
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
    )
    assert asked_for(400, refusal, response_format={"type": "json_object"}) == Adaptation("format_in_prompt")


STRICT_GAP = openai(
    "Invalid schema for response_format 'output': In context=(), 'required' is required to be supplied and to be an "
    "array including every key in properties. Missing 'note'.",
)
STRICT_OPEN = openai(
    "Invalid schema for response_format 'output': In context=(), 'additionalProperties' is required to be supplied and "
    "to be false.",
)
OPTIONAL = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"type": ["string", "null"]}, "c": {"$ref": "#/$defs/c"}},
    "required": ["a"],
}


@pytest.mark.parametrize("refusal", [STRICT_GAP, STRICT_OPEN], ids=["required", "open"])
def test_a_strict_schema_with_optional_properties_is_completed_where_the_upstream_demands_it(refusal: Any) -> None:
    strict = {"type": "json_schema", "json_schema": {"name": "output", "strict": True, "schema": OPTIONAL}}
    loose_tool = {"type": "function", "function": {"name": "look", "parameters": OPTIONAL}}
    adaptation = asked_for(400, refusal, response_format=strict, tools=[loose_tool])
    assert adaptation == Adaptation("complete_strict")
    conversion = adapted(Conversion({**BODY, "response_format": strict, "tools": [loose_tool]}), [adaptation])  # type: ignore[typeddict-item]
    body: Any = conversion.body
    schema = body["response_format"]["json_schema"]["schema"]
    assert (schema["required"], schema["additionalProperties"]) == (["a", "b", "c"], False)
    assert schema["properties"] == {
        **OPTIONAL["properties"],  # type: ignore[dict-item]
        "c": {"anyOf": [{"$ref": "#/$defs/c"}, {"type": "null"}]},
    }
    assert body["tools"] == [loose_tool]
    assert [str(note.field) for note in conversion.notes] == ["output_config.format"]
    assert adapted(conversion, [adaptation]) is conversion


def test_a_strict_schema_whose_optional_properties_take_null_loses_nothing() -> None:
    optional = {"type": "object", "properties": {"b": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}
    strict = {"type": "json_schema", "json_schema": {"name": "output", "strict": True, "schema": optional}}
    conversion = adapted(Conversion({**BODY, "response_format": strict}), [Adaptation("complete_strict")])  # type: ignore[typeddict-item]
    assert conversion.notes == ()
    body: Any = conversion.body
    assert body["response_format"]["json_schema"]["schema"] == {
        **optional,
        "required": ["b"],
        "additionalProperties": False,
    }


def test_each_kind_has_its_rewrite() -> None:
    assert REWRITES.keys() == KINDS


def test_an_image_of_a_tool_result_is_labelled_where_the_result_refers_to_it() -> None:
    origin = {"type": "text", "text": "[from the result of tool call c1]"}
    body: Any = {
        "messages": [
            {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": "c1"}]},
            {"role": "tool", "tool_call_id": "c1", "content": "[attached to the next user message]"},
            {"role": "user", "content": [origin, IMAGE]},
        ]
    }
    images = Adaptation("media_as_text", ("image_url",))
    told = adapted(Conversion(body), [images]).body["messages"]
    assert told[1:] == [
        {"role": "tool", "tool_call_id": "c1", "content": "[image omitted: this model cannot read it]"},
    ]
    body["messages"][-1]["content"].append({"type": "text", "text": "Well?"})
    told = adapted(Conversion(body), [images]).body["messages"]
    assert told[-1] == {"role": "user", "content": [{"type": "text", "text": "Well?"}]}


NOT_ASKED = {
    "a rate limit": (429, openai("Rate limit reached: temperature is not supported")),
    "a wrong key": (401, openai("temperature is not supported")),
    "a broken image": (400, openai("Invalid image format: could not process image")),
    "a failure": (500, openai("CUDA error: an illegal memory access was encountered")),
    "a failure in passing": (503, openai("no healthy upstream")),
    "an overflow": (400, openai("This model's maximum context length is 8192 tokens. However, you requested 9000.")),
    "a parser that the operator has to choose": (
        400,
        openai('tool_choice="required" requires --tool-call-parser to be set'),
    ),
    "a word that is one of the language": (400, openai("This user is not allowed to stop the store.")),
    "a limit above what was asked for": (400, openai("max_tokens must be less than or equal to 64000")),
}


@pytest.mark.parametrize("case", NOT_ASKED)
def test_nothing_is_changed_after(case: str) -> None:
    assert asked_for(*NOT_ASKED[case]) is None


def test_null_that_pydantic_refuses_becomes_a_text_once_no_list_is_left() -> None:
    refusal = openai("messages.2.content: Input should be a valid string")
    assert asked_for(400, refusal) == Adaptation("flat_content")
    flat = adapted(Conversion(BODY), [Adaptation("flat_content")])  # type: ignore[arg-type]
    assert asked_for(400, refusal, messages=flat.body["messages"]) == Adaptation("empty_content")


@pytest.mark.parametrize(
    "words",
    [
        "max_tokens is too large: 32000. This model's context length is 8192 and the prompt has 4000 tokens.",
        "Model acme-8192 takes no max_tokens above its limit (code 12).",
        "Error code: 1210 - max_tokens must be valid (code 1210, status 400)",
    ],
)
def test_numbers_that_are_no_limit_of_the_answer_are_left(words: str) -> None:
    adaptation = asked_for(400, openai(words))
    assert adaptation is None or adaptation.kind != "max_tokens"


def test_a_refused_choice_that_is_the_default_is_left_out_without_a_note() -> None:
    conversion = adapted(Conversion({**BODY, "tool_choice": "auto"}), [Adaptation("auto_choice")])  # type: ignore[typeddict-item]
    assert "tool_choice" not in conversion.body
    assert conversion.notes == ()


def test_narrow_schemas_keep_what_the_compiler_takes() -> None:
    empty = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    body: Any = {"tools": [TOOL, empty], "messages": []}
    changed = adapted(Conversion(body), [Adaptation("narrow_schemas")])
    look, now = [tool["function"] for tool in changed.body["tools"]]
    properties = look["parameters"]["properties"]
    assert properties["n"] == {"type": "integer", "exclusiveMinimum": 0}
    assert properties["word"] == {"type": "string", "enum": ["a"]}
    assert properties["open"] == {"type": "object", "properties": {"value": {"type": "string"}}}
    assert (look["parameters"]["required"], "parameters" in now) == (["n"], False)
    assert [note.field for note in changed.notes] == ["tools.input_schema"]


def test_narrow_schemas_keep_names_alone() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": [["n"], {}, "n"]}
    tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
    changed = adapted(Conversion({"tools": [tool], "messages": []}), [Adaptation("narrow_schemas")])
    assert changed.body["tools"][0]["function"]["parameters"]["required"] == ["n"]
