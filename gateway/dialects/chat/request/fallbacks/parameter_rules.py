"""Wordings of refusals that concern parameters: lengths, efforts, stop sequences, the choice of tools, formats."""

import re

from gateway.dialects.chat.request.fallbacks.fields import BUDGET_FIELDS, LENGTH_FIELDS, OFF_VALUES
from gateway.dialects.chat.request.fallbacks.messages import Body
from gateway.dialects.chat.request.fallbacks.rule import UNSUPPORTED, rule
from gateway.dialects.chat.response.errors.overflow import room_for_answer
from gateway.dialects.chat.vocabulary import EFFORTS
from gateway.errors import UpstreamWords
from gateway.upstream.vendors.adaptation import Adaptation

NUMBER = r"`?(?P<limit>\d{1,3}(?:,\d{3})+|\d{1,8})\b"
# A number that stands alone, and is no part of a model's name.
COUNT = re.compile(r"(?<!code )(?<!code: )(?<!code=)(?<![\w.,-])(\d{1,3}(?:,\d{3})+|\d{2,8})(?![\w-]|[.,]\d)")
# No model writes less; smaller numbers are positions and HTTP statuses.
LEAST_LIMIT = 600
# Characters behind the words for a limit in which its number stands.
AFTER_LIMIT = 80
# What follows a list of values: the value that was refused.
AFTER_LIST = re.compile(r"received|but got|'input'|input_value|\n", re.IGNORECASE)


def _efforts(match: re.Match[str], said: UpstreamWords, _: Body) -> Adaptation | None:
    """The efforts that a refusal lists; a list of other values has none of these words."""
    listed = AFTER_LIST.split(match["listed"], maxsplit=1)[0].lower()
    known = tuple(word for word in (*EFFORTS, "default") if re.search(rf"\b{word}\b", listed))
    is_meant = len(known) > 1 or "effort" in said.text.lower() or any("effort" in path for path in said.pointers)
    return Adaptation("efforts", known) if known and is_meant else None


def _other_efforts(match: re.Match[str], _: UpstreamWords, __: Body) -> Adaptation:
    """Allow all efforts but the one that a refusal names."""
    return Adaptation(
        "efforts", tuple(effort for effort in EFFORTS if effort not in (match["refused"].lower(), "none"))
    )


def _token_limit(match: re.Match[str], _: UpstreamWords, body: Body) -> Adaptation | None:
    """The tokens that the refusal allows. A number above what was asked for is about something else."""
    asked = next((body[name] for name in LENGTH_FIELDS if name in body), 0)
    limit = int(match["limit"].replace(",", "")) - bool(match.groupdict().get("exclusive"))
    return Adaptation("max_tokens", limit=limit) if 0 < limit < asked else None


def _room(_: re.Match[str], said: UpstreamWords, __: Body) -> Adaptation | None:
    """Return the room that the prompt leaves for an answer: a limit of this request, not of the model."""
    room = room_for_answer(said.text)
    return None if room is None else Adaptation("max_tokens", limit=room, lasting=False)


def _stop_limit(match: re.Match[str], _: UpstreamWords, __: Body) -> Adaptation:
    return Adaptation("cut_stops", limit=int(match["limit"]))


def _description_limit(match: re.Match[str], _: UpstreamWords, __: Body) -> Adaptation:
    return Adaptation("cut_descriptions", limit=int(match["limit"]))


def _choice(_: re.Match[str], said: UpstreamWords, body: Body) -> Adaptation | None:
    """A named tool becomes the only one, unless no call can be forced at all."""
    if "requires --" in said.text:  # vLLM without a parser takes no choice but none, and says how it is started
        return None
    is_named = isinstance(body.get("tool_choice"), dict)
    if body.get("tool_choice") == "none":
        return Adaptation("hide_tools")
    refused = LISTED_VALUES.split(said.text, maxsplit=1)[0]
    cannot_force = "required" in refused or "thinking" in refused
    return Adaptation("lone_tool" if is_named and not cannot_force else "auto_choice")


def _format(_: re.Match[str], said: UpstreamWords, body: Body) -> Adaptation | None:
    wanted = (body.get("response_format") or {}).get("type")
    if not UNSUPPORTED.search(said.text) and not FORMAT_REFUSED.search(said.text):
        return None
    if wanted == "json_schema" and not FORMAT_WITH_TOOLS.search(said.text):
        takes_schema = "input should be 'text' or 'json_object'" in said.text.lower()  # llama-cpp-python 0.3.36
        return Adaptation("json_object", ("schema",) if takes_schema else ())
    return Adaptation("format_in_prompt")


def _any_limit(match: re.Match[str], said: UpstreamWords, body: Body) -> Adaptation | None:
    """The largest number below the requested one, in a refusal of the answer's length that no other rule reads.

    Not where the prompt counts as well: what it leaves is another number.
    """
    if "context" in said.text.lower() or "prompt" in said.text.lower():
        return None
    asked = next((body[name] for name in LENGTH_FIELDS if name in body), 0)
    sentence = said.text[match.start() : match.end() + AFTER_LIMIT]
    counts = [int(found[1].replace(",", "")) for found in COUNT.finditer(sentence)]
    limit = max((count for count in counts if LEAST_LIMIT <= count < asked), default=0)
    return Adaptation("max_tokens", limit=limit) if limit else None


# LM Studio: "Invalid tool_choice type: 'object'. Supported string values: none, auto, required".
LISTED_VALUES = re.compile(r"supported (?:string )?values|expected one of|must be one of", re.IGNORECASE)
FORMAT_REFUSED = re.compile(
    r"unavailable|input should be|must be|expected one of|only .{0,20}json_object|enabled only|only (?:for|in|with)\b",
    re.I,
)
# Groq: "json mode cannot be combined with tool/function calling"; Gemini: "Function calling with a response mime type".
FORMAT_WITH_TOOLS = re.compile(
    r"combined with tool|function calling with|tools? (?:and|with) (?:json|structured)|json mode is not", re.I
)


def _without_thinking(_: re.Match[str], __: UpstreamWords, body: Body) -> Adaptation | None:
    """Leave out all fields that ask for thinking, also if the refusal names none of them."""
    asked = tuple(name for name in (*OFF_VALUES, *BUDGET_FIELDS) if name in body)
    return Adaptation("drop_fields", asked) if asked else None


REASONING_RULES = (
    # Gemini: "Thinking level MINIMAL is not supported for this model."
    rule(
        rf"(?:thinking|reasoning)[ _](?:level|effort)\W{{1,4}}(?P<refused>{'|'.join(EFFORTS[1:])})\b\W{{0,2}}"
        r" (?:is not|isn't|not) (?:supported|available)",
        _other_efforts,
    ),
    # OpenAI's chat API since GPT-5.4, and Azure's.
    rule(r"tools with reasoning_effort|set reasoning_effort to 'none'", Adaptation("effort_none_with_tools")),
    # OpenRouter; Gemini: "Budget 0 is invalid. This model only works in thinking mode."; Zhipu; Kimi.
    rule(
        r"reasoning is (?:mandatory|required)|(?:thinking|reasoning)\b.{0,60}?cannot be (?:disabled|turned off)"
        r"|only (?:works in|supports) thinking mode|does not support (?:disabling|non-?thinking)"
        r"|only type=enabled is allowed|enable_thinking.{0,40}?restricted to true",
        Adaptation("keep_thinking"),
    ),
    # Ollama: '"qwen2" does not support thinking', and 'think value "high" is not supported for this model', since other
    # models than gpt-oss take no level.
    rule(
        r"does(?: not|n't) support (?:thinking|reasoning)\b(?! mode)|think value .{1,20}? is not supported"
        r"|(?:thinking|reasoning) is not (?:supported|available)",
        _without_thinking,
    ),
    # OpenAI, Groq, Kimi ("expected one of 'low' | 'medium'"), pydantic ("Input should be"), Gemini ("Valid values are")
    rule(
        r"(?:supported values are|valid (?:values|levels|options)(?: are)?|expected one of|must be one of|should be"
        r"|allowed values(?: are)?|one of)\W{1,4}(?P<listed>.{3,160})",
        _efforts,
    ),
)

LENGTH_RULES = (
    rule(r"context (?:length|limit)", _room),
    # OpenAI's reasoning models: "Use 'max_completion_tokens' instead."
    rule(r"use \W?max_completion_tokens", Adaptation("length_field", ("max_completion_tokens",))),
    # DeepSeek and DashScope: "the valid range of max_tokens is [1, 8192]".
    rule(rf"max_?tokens.{{0,60}}?\[ ?\d{{1,4}}, ?{NUMBER}", _token_limit),
    # "max_tokens (current value: 4096) must be between 0 and 4000"
    rule(rf"max_?(?:completion_|new_|output_)?tokens.{{0,60}}?between \d{{1,4}} and {NUMBER}", _token_limit),
    # Vertex: "the supported range is from 1 (inclusive) to 65537 (exclusive)".
    rule(rf"max_?output_?tokens.{{0,80}}?\(inclusive\) to {NUMBER} (?P<exclusive>\(exclusive\))", _token_limit),
    # vLLM 0.32: "max_tokens=9000 cannot be greater than max_model_len=8192."
    rule(rf"tokens=\d{{1,9}} cannot be greater than max_model_len={NUMBER}", _token_limit),
    # OpenAI and SGLang: "This model supports at most 8192 completion tokens"; Groq: "less than or equal to `8192`".
    rule(
        r"max_?(?:completion_|new_|output_)?tokens.{0,160}?(?:at most|less than or equal to|<=|no more than"
        r"|(?:cannot|must not) exceed|exceeds? (?:the )?(?:model )?(?:limit|maximum)(?: of| is)?"
        rf"|maximum(?: value)?(?: is| of)?:?|最大值?[为是]?) ?{NUMBER}",
        _token_limit,
    ),
    # Anthropic: "max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens".
    rule(rf"max_tokens: \d{{1,9}} > {NUMBER}, which is the maximum", _token_limit),
    # Bedrock: "The maximum tokens you requested exceeds the model limit of 4096."
    rule(rf"maximum tokens you requested exceeds the model limit of {NUMBER}", _token_limit),
    # Any other: "max_tokens must be in range (0, 8192]", "number of output tokens 32000 exceeds …".
    rule(
        r"(?:max[ _]?(?:new_|output_|completion_)?tokens|(?:output|completion|new|generated) tokens).{0,160}?"
        r"(?:exceed|maxim|at most|less|limit|range|between|must|should|allow|too (?:large|high|big)|[<>]|最大|范围|超)",
        _any_limit,
    ),
)

STOP_RULES = (
    # vLLM: "stop: List should have at most 4 items"; OpenAI: "Expected an array with maximum length 4".
    rule(
        r"\bstop\b.{0,160}?(?:at most|maximum length|up to|more than|<=|limit of|exceed\w*) (?P<limit>\d{1,2})\b",
        _stop_limit,
    ),
)

TOOL_RULES = (
    # Bedrock, and LiteLLM in front of it and of Anthropic, where a conversation has calls and the request no tools.
    rule(
        r"toolconfig field must be defined|without .?tools=.? param|requests? which include .{0,40}?tool.{0,40}?must",
        Adaptation("declare_tools"),
    ),
    rule(r"description\b.{0,160}?(?:maximum length|at most|<=|exceed\w*) (?P<limit>\d{2,6})\b", _description_limit),
    # DashScope and DeepSeek while thinking; Ollama and others that know "auto" only; servers that take no object.
    rule(
        r"tool_?choice\b.{0,160}?(?:not|n't|un|only|incompat|expected|should be|must be)"
        r"|(?:not|n't|unsupported|invalid|only)\b.{0,60}?tool_?choice|thinking may not be enabled when tool_choice"
        # vLLM's and Gemini's words for it, and serde's for an object.
        # Cohere's "unrecognized tool choice option 'auto'".
        r"|unrecogni[sz]ed tool choice option"
        r"|forc(?:ed|ing) (?:a )?(?:function|tool)|function calling mode|variant `function`, expected `auto`",
        _choice,
    ),
)

FORMAT_RULES = (
    # OpenAI and DashScope, of a `json_object`.
    rule(r"must contain the word .{0,3}json", Adaptation("format_in_prompt")),
    # DeepSeek: "This response_format type is unavailable now"; llama-cpp-python; Groq; Gemini.
    rule(r"response_format|json_schema|json_object|json mode|structured output|response mime type", _format),
    rule(
        r"(?:both|only one of|simultaneous|together).{0,60}?temperature.{0,20}?top_p"
        r"|temperature.{0,20}?top_p.{0,40}?(?:both|together|simultaneous)",
        Adaptation("drop_fields", ("top_p",)),
    ),
)
