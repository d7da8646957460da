"""Wordings of refusals that concern messages: roles, turns, content, media, ids, and reasoning that is given back."""

import re

from gateway.dialects.chat.request.fallbacks.media import media_kinds
from gateway.dialects.chat.request.fallbacks.messages import Body
from gateway.dialects.chat.request.fallbacks.rule import UNSUPPORTED, rule
from gateway.errors import UpstreamWords
from gateway.upstream.vendors.adaptation import Adaptation

# A picture or document that is broken or of an unknown kind, which only the client can correct.
BROKEN_MEDIA = re.compile(
    r"(?:unsupported|invalid|unknown) (?:image|media|mime|file) (?:format|type|url|data)"
    r"|(?:could not|unable to|failed to|cannot) (?:process|decode|download|load|fetch|open|identify)"
    r"|too (?:large|small|big|many)|dimension|corrupt|\bpixels?\b",
    re.IGNORECASE,
)
# OpenAI names the type of a part as a value, pydantic as a tag.
INVALID_KIND = re.compile(
    r"(?:invalid (?:value|type|tag)|input tag|unknown (?:value|(?:(?:content )?part )?type))\W{1,4}"
    r"(?P<kind>file|image_url|input_audio|video_url)\b",
    re.IGNORECASE,
)
# A model that reads text only. "Input should be 'text'" is what FastAPI says of a part's type.
TEXT_ONLY = re.compile(
    rf"{UNSUPPORTED.pattern}|{INVALID_KIND.pattern}|not a multi-?modal|only (?:supports? |accepts? )?text"
    r"|supports? text only|no endpoints|only supported by certain|at most 0|input should be|(?:has|have) no vision"
    r"|lacks|unsupported content"
    r"|(?:values are:?|取值范围) ?\[?['`\"]text['`\"](?!,| and| or)",
    re.IGNORECASE,
)


# Which part of a message is meant, by a word for it.
MEDIA_WORDS = (
    ("image_url", re.compile(r"image|vision|visual|picture|multi-?modal|图|视觉|多模态", re.IGNORECASE)),
    ("file", re.compile(r"\bfiles?\b|\bpdf|(?<!same )\bdocument", re.IGNORECASE)),
    ("input_audio", re.compile(r"audio|speech|音频", re.IGNORECASE)),
    ("video_url", re.compile(r"video|视频", re.IGNORECASE)),
)
# Kinds from the one that fewest servers take; the first that is there is meant where none is named.
RAREST_FIRST = ("file", "video_url", "input_audio", "image_url")
SUPPORTED_LIST = re.compile(
    r"(?<!un)supported (?:content |part |input )*types?\b|expected (?:one of )?[`'\"]", re.IGNORECASE
)


def _media(_: re.Match[str], said: UpstreamWords, body: Body) -> Adaptation | None:
    if not TEXT_ONLY.search(said.text) or BROKEN_MEDIA.search(said.text):
        return None
    refused = SUPPORTED_LIST.split(said.text, maxsplit=1)[0]
    sent = media_kinds(body)
    if (invalid := INVALID_KIND.search(said.text)) is not None and invalid["kind"] in sent:
        return Adaptation("media_as_text", (invalid["kind"],))
    named = [kind for kind, words in MEDIA_WORDS if kind in sent and words.search(refused)]
    kind = named[0] if named else next((kind for kind in RAREST_FIRST if kind in sent), None)
    return Adaptation("media_as_text", (kind,)) if kind else None


REASONING_BACK_RULES = (
    # DeepSeek's R1 takes none back: "Please remove the reasoning_content from your message".
    rule(r"remove the reasoning_content", Adaptation("drop_nested", ("reasoning_content",))),
    # Kimi, DeepSeek V4: "thinking is enabled but reasoning_content is missing", "must be passed back to the API".
    rule(
        r"reasoning_content\b.{0,80}?(?:missing|must be|required|passed back)|missing.{0,40}?reasoning_content",
        Adaptation("fill_reasoning", ("reasoning_content",)),
    ),
    # Gemini 3: "Function call is missing a thought_signature in functionCall parts."
    rule(r"missing.{0,20}?thought_?signature|thought_?signature.{0,40}?(?:missing|required)", Adaptation("sign_calls")),
    rule(
        r"signature|thinking block|reasoning_details|encrypted_content",
        Adaptation("drop_reasoning", lasting=False),
    ),
)

ROLE_RULES = (
    # Mistral's API, of a system message behind others.
    rule(r"for serving but got system", Adaptation("system_as_user")),
    # Qwen's template in vLLM, SGLang and llama.cpp; Mistral's API; any template that raises (transformers' Jinja).
    rule(
        r"system (?:message|prompt|role)s?\b.{0,40}?(?:must|should|may|only|has to|need).{0,40}?(?:begin|start|first)"
        r"|(?:multiple|more than one|only one|several) system (?:message|prompt)|unexpected role '?system"
        r"|jinja exception|raise_exception|templateerror|template error|chat template",
        Adaptation("system_as_user"),
    ),
    # Gemma's template; "Only user, assistant and tool roles are supported, got system"; OpenAI's o1-mini.
    rule(
        r"(?:system|developer) (?:role|messages?|instructions?) (?:is|are)? ?not (?:supported|enabled)"
        r"|got system\b|does not support '?system'? with",
        Adaptation("no_system"),
    ),
    # "'developer' is not one of ['system', …]", "unknown variant `developer`", "Unexpected role: developer".
    rule(
        r"\bdeveloper\W{1,3}(?:is not|role|,? expected)|(?:variant|role)\W{1,4}developer\b|got developer\b",
        Adaptation("system_role", ("system",)),
    ),
    # Mistral's API: "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant".
    rule(r"assistant with prefix true", Adaptation("prefill_flag", ("prefix",))),
    # Mistral's API and the templates of its models.
    rule(r"unexpected role '?user'? after role '?tool|roles must alternate", Adaptation("alternate_turns")),
    # Any other wording for a role out of its place: it changes only requests with a system message behind the first.
    rule(
        r"\bsystem\W{0,3}(?:role|message|prompt|消息)|role\W{1,4}system\b|\b(?:invalid|unexpected|wrong|unsupported)"
        r" (?:message )?roles?\b|\broles?\b.{0,80}?(?:order|alternat|sequence)",
        Adaptation("system_as_user"),
    ),
)

CONTENT_RULES = (
    # Gemini: "function_response.name: Name cannot be empty".
    rule(
        r"function_response\.name|tool message.{0,40}?\bname\b.{0,40}?(?:empty|missing|required)",
        Adaptation("name_results"),
    ),
    # OpenAI: "Invalid 'messages[3].tool_calls[0].id': string too long"; Bedrock: "toolUseId' failed to satisfy …
    # regular expression pattern"; Anthropic: "tool_use.id: String should match pattern".
    rule(
        r"tool_?calls?\W{1,3}\d{0,4}\W{0,3}id\b.{0,120}?(?:too long|pattern|maximum length)"
        r"|tool_?use[._]?id\b.{0,200}?(?:pattern|regular expression|too long)",
        Adaptation("short_ids"),
    ),
    # An assistant's turn that was thinking only: Anthropic, Kimi, Mistral, Bedrock.
    rule(
        r"content blocks? must be non-empty|must have either content or tool_calls|must not be empty"
        r"|content.{0,40}?(?:is|cannot be|can't be) (?:empty|blank)|content field.{0,40}?is empty|non-empty content",
        Adaptation("fill_empty"),
    ),
    # By a word for it; llama.cpp: "unsupported content[].type"; vLLM: "Unsupported chat content part type: 'file'".
    rule(
        "|".join([words.pattern for _, words in MEDIA_WORDS])
        + r"|content\[\]|content part|content\Wtype|input should be 'text'(?! or)",
        _media,
    ),
    # OpenAI: "Invalid value for 'content': expected a string, got null"; llama-cpp-python lists its validation errors.
    rule(
        r"content\b.{0,80}?(?:got null|be null|\bnull\b|none|required|missing|string or an array)|got null"
        r"|validation errors?.{0,2000}?content|content type: <nil>|content.{0,20}不能为空",
        Adaptation("empty_content"),
    ),
    rule(
        r"content\b.{0,60}?(?:empty|blank|at least 1|min(?:imum)?.?length|不能为空)|empty content",
        Adaptation("omit_content"),
    ),
    # pydantic, serde ("invalid type: sequence"), Go ("cannot unmarshal array"), Groq ("value must be a string").
    rule(
        r"content\b.{0,120}?(?:(?:be|expected|valid) (?:a |an )?(?:valid )?str|got (?:an |a )?(?:array|list))"
        r"|content', 'array' not in 'string'"
        r"|invalid type: sequence, expected a string|cannot unmarshal array.{0,80}?content"
        r"|validation errors?.{0,2000}?content",
        Adaptation("flat_content"),
    ),
    # Once no list is left: pydantic says the same of null.
    rule(r"content\b.{0,40}?(?:be|expected) (?:a |an )?(?:valid )?str", Adaptation("empty_content")),
    # Mistral: "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9."
    rule(
        r"tool.?call.?id\b.{0,120}?length of 9|tool.?call.?id.{0,60}?9 (?:char|alnum|alphanum)", Adaptation("short_ids")
    ),
)
