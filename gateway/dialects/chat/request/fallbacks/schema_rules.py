"""Wordings of refusals that concern the JSON schemas of tools and of the answer."""

import re

from gateway.dialects.chat.request.fallbacks.messages import Body
from gateway.dialects.chat.request.fallbacks.rule import rule
from gateway.dialects.chat.request.fallbacks.schemas import BARE_KEYWORDS, schema_keywords
from gateway.errors import UpstreamWords
from gateway.upstream.vendors.adaptation import Adaptation

# Keywords that are words of the language too: they count only in quotation marks.
PROSE = frozenset(
    {"const", "contains", "default", "else", "examples", "format", "if", "not", "pattern", "then", "title"}
)
ABOUT_SCHEMAS = r"schema|grammar|function_?declarations|unknown name|unimplemented keys|keyword"


def _named_words(_: re.Match[str], said: UpstreamWords, body: Body) -> Adaptation | None:
    """Keywords of the request's schemas that the refusal names, but not as missing. Types and properties stay."""
    used = sorted(schema_keywords(body) - BARE_KEYWORDS)
    named = tuple(word for word in used if _is_named(word, said.text))
    return Adaptation("schema_words", named) if named else None


def _is_named(word: str, text: str) -> bool:
    quoted = rf"[\"'`/]{re.escape(word)}[\"'`]|\b{re.escape(word)} is not (?:support|permit|allow)"
    anywhere = rf"(?<![\w$.-]){re.escape(word)}(?![\w$-]|[\"'`]? is required)"
    return re.search(quoted if word in PROSE else anywhere, text) is not None


def _format(match: re.Match[str], _: UpstreamWords, __: Body) -> Adaptation:
    return Adaptation("schema_formats", (match["format"] or match["other"],))


SCHEMA_RULES = (
    # Gemini: "parameters.properties[action].enum[2]: cannot be empty", "Invalid value at '….enum[0]' (TYPE_STRING), 2".
    rule(
        r"enum\[\d+\]\W{0,2} ?(?:cannot be empty|\(TYPE_STRING\))|enum: only allowed for string"
        r"|non-empty for object type|required\[\d+\]: property is not defined",
        Adaptation("narrow_schemas"),
    ),
    # OpenAI: "array schema missing items"; Gemini: "items: missing field".
    rule(
        r"schema missing (?:items|properties)|items: missing field|missing properties",
        Adaptation("typed_schemas"),
    ),
    # OpenAI's and Azure's strict mode.
    rule(
        r"'?required'? is required to be supplied|'?additionalProperties'? is required to be supplied",
        Adaptation("complete_strict"),
    ),
    # vLLM's xgrammar; OpenAI: "'uri' is not a valid format"; Gemini: "only 'enum' and 'date-time' are supported".
    rule(r"unknown format:? [\"'`]?(?P<format>[\w-]{1,40})|'(?P<other>[\w-]{1,40})' is not a valid format", _format),
    rule(r"only 'enum' and 'date-time' are supported|regex parse|regular expression", Adaptation("schema_formats")),
    # Gemini: a list of types.
    rule(r"proto field is not repeating", Adaptation("single_types")),
    rule(
        r"\btype\b.{0,40}?(?:must be a string|got (?:an )?(?:array|list)|expected (?:a )?string"
        r"|cannot be (?:an? )?(?:array|list))",
        Adaptation("single_types"),
    ),
    # llama.cpp build 11549; vLLM: "Pointer '/$defs/B' does not exist", "Invalid type: foo".
    rule(
        r"schema must be an object|only references into the same document|cannot resolve \$ref|unrecognized type"
        r"|pointer '[^']{1,200}' does not exist|invalid type: [a-z]{1,40}\b(?! ?,)",
        Adaptation("plain_schemas"),
    ),
    rule(ABOUT_SCHEMAS, _named_words),
)

# After the rules of formats: what remains when no place of a schema is named.
WHOLE_SCHEMA_RULES = (
    # A schema that the model cannot be held to. OpenRouter's router says which filter left no endpoint, not why, and of
    # strict schemas also that a guardrail left none (its ai-sdk-provider, issue 483, 2026-04); then servers that take
    # no `strict`, or the same for all tools only; then what compiles schemas at OpenAI, Anthropic, Azure and in vLLM.
    rule(
        r"no endpoints (?:found (?:that|matching)|available)|endpoints out of \d+ requested"
        r"|\bstrict\b|invalid schema for|compiled grammar|grammar error|invalid grammar"
        r"|schema contains .{0,40}?(?:unsupported|not supported)",
        Adaptation("not_strict"),
    ),
    # Gemini's whole answer to a schema with a choice of types (googleapis/google-api-python-client issue 2570).
    rule(r"^request contains an invalid argument\.?$", Adaptation("bare_schemas")),
    # Refusals by a schema compiler that name no keyword. llama.cpp: "Failed to initialize samplers: failed to parse
    # grammar", for Claude Code's tools too (opencodex issue 2135, 2026-08).
    rule(
        r"failed to parse grammar"
        r"|invalid (?:json )?schema|json schema (?:error|is|not)|schema.{0,40}?(?:invalid|unsupported|not supported)"
        r"|flavored json schema|function_?declarations?\W.{0,80}?parameters",
        Adaptation("bare_schemas"),
    ),
)
