"""Fields that a refusal names, at the top level of the request or within its messages and tools.

Only what the request can do without is left out. Many field names are words of the language, which count only where
they are quoted or pointed at.
"""

import re
from collections.abc import Iterator

from gateway.dialects.chat.request.fallbacks.fields import LENGTH_FIELDS
from gateway.dialects.chat.request.fallbacks.messages import Body
from gateway.dialects.chat.request.fallbacks.rule import UNSUPPORTED
from gateway.errors import UpstreamWords
from gateway.upstream.vendors.adaptation import Adaptation

# Without these a request would be another, or none. Other rules answer a refusal of most of them.
ESSENTIAL = frozenset({"messages", "model", "response_format", "stream", "tool_choice", "tools", *LENGTH_FIELDS})
# Of a message, a part of its content, a call or a tool.
ESSENTIAL_NESTED = frozenset(
    {
        *("arguments", "content", "custom", "file", "function", "id", "image_url", "input_audio", "parameters", "role"),
        *("text", "tool_call_id", "tool_calls", "type", "video_url"),
    }
)
# What servers call a field of ours.
OTHER_NAMES = {
    "reasoning_effort": ("reasoning.effort",),
    "stop": ("stop_sequences",),
    "user": ("user_id", "end_user", "end_user_id"),
}
PROSE = frozenset(
    {
        *(
            "audio",
            "metadata",
            "models",
            "moderation",
            "name",
            "plugins",
            "preset",
            "provider",
            "reasoning",
            "route",
            "seed",
            "stop",
        ),
        *("store", "thinking", "trace", "user"),
    }
)
# "did you mean 'stop'?", "Supported parameters: …"
SUGGESTION = re.compile(
    r"did you mean|(?<!un)supported (?:param|field|option|value)|allowed (?:param|field)|\binstead of", re.IGNORECASE
)
# A value out of its range, or of the wrong kind; the last two are Chinese for that.
BAD_VALUE = re.compile(
    r"must (?:be|not be)|should be|\binvalid\b|out of range|not (?:a |in )?(?:valid|range)|(?:less|greater|more) than"
    r"|at most|exceeds?|非法|取值",
    re.IGNORECASE,
)
# Within the request, as servers write a place: messages.1.assistant.name, 'messages.2', messages[1], tools.0
NESTED_PLACE = re.compile(r"\b(?:messages|tools)['\"]?[.\[ ]", re.IGNORECASE)


def pointed_fields(said: UpstreamWords, body: Body) -> Adaptation | None:
    """Return the fields that the refusal points at apart from its sentence (`param`, `loc`)."""
    names = set(said.pointers) | {path.rpartition(".")[2] for path in said.pointers}
    return _dropping([name for name in _optional(body) if not names.isdisjoint(_aliases(name))], said)


def worded_fields(said: UpstreamWords, body: Body) -> Iterator[Adaptation]:
    """Fields that the refusal names as unknown or not supported; those within messages and tools first.

    At last those with a refused value.
    """
    if not UNSUPPORTED.search(said.text):
        refused = _dropping([name for name in _optional(body) if _is_named(name, said)], said)
        if refused is not None and BAD_VALUE.search(said.text):
            yield refused
        return
    if NESTED_PLACE.search("\n".join((said.text, *said.pointers))):
        nested = tuple(sorted(key for key in _nested_keys(body) - ESSENTIAL_NESTED if _is_named(key, said)))
        if nested:
            yield Adaptation("drop_nested", nested)
    for name, other in (LENGTH_FIELDS, LENGTH_FIELDS[::-1]):
        if name in body and _is_named(name, said):
            yield Adaptation("length_field", (other,))
    dropping = _dropping([name for name in _optional(body) if _is_named(name, said)], said)
    if dropping is not None:
        yield dropping


def _dropping(names: list[str], said: UpstreamWords) -> Adaptation | None:
    """Leave a field out this time only, if only its value is refused."""
    lasting = UNSUPPORTED.search(said.text) is not None
    if "stop" in names:  # the gateway matches the sequences instead
        return Adaptation("cut_stops", limit=0, lasting=lasting)
    return Adaptation("drop_fields", tuple(names), lasting=lasting) if names else None


def _optional(body: Body) -> list[str]:
    return sorted(body.keys() - ESSENTIAL)


def _aliases(name: str) -> tuple[str, ...]:
    """Return the names that servers may use for it; xAI and Google also write `presencePenalty`."""
    camel = re.sub(r"_([a-z])", lambda match: match[1].upper(), name)
    return (name, *([camel] if camel != name else []), *OTHER_NAMES.get(name, ()))


def _is_named(name: str, said: UpstreamWords) -> bool:
    """Return whether the sentence names it, in front of its list of what else there is."""
    sentence = SUGGESTION.split(said.text, maxsplit=1)[0]
    text = "\n".join((sentence, *said.pointers))
    return any(re.search(_wording(alias), text, re.MULTILINE) is not None for alias in _aliases(name))


def _wording(name: str) -> str:
    word = re.escape(name)
    if name in PROSE:
        kinds = "field|param|parameter|argument|property|key|model"
        # "Unknown parameters: temperature, top_p, user" names it in a list.
        listed = r"(?:[\"'`]?\w{1,40}[\"'`]?,? (?:and )?){0,12}?"
        return rf"[\"'`.]{word}[\"'`:]|\b(?:{kinds})s?:? {word}\b|\b(?:{kinds})s: {listed}{word}\b|^(?:\S*\.)?{word}$"
    return rf"(?<![\w-]){word}(?![\w-])"


def _nested_keys(body: Body) -> set[str]:
    keys: set[str] = set()
    for message in body["messages"]:
        keys.update(message)
        for entries in (message.get("content"), message.get("tool_calls")):
            if isinstance(entries, list):
                keys.update(*entries)
    keys.update(*(body.get("tools") or ()))
    return keys
