"""Reader of failure bodies of any shape: a sentence for the client, and all words for the rules.

Servers report a failure as OpenAI's `error` object, as FastAPI's `detail`, as a list, as bare text or a web page, and
proxies wrap one form into another: JSON within a string, a Python literal, LiteLLM's class names. Secrets, addresses
and places in a server's source stay: the exchange removes them for all dialects (`telemetry/redaction`).
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import orjson

# The wording matters, not the payload that servers such as vLLM quote in their messages.
MESSAGE_LIMIT = 512
# An upstream may send megabytes of anything.
READ_LIMIT = 16 * MESSAGE_LIMIT
# Bodies nest a handful of wrappers; a validation error of FastAPI lists a few dozen faults.
MAX_DEPTH = 12
MAX_VALUES = 256
MAX_FAULTS = 3

# Where a sentence stands, the likeliest place first.
SENTENCE_KEYS = (
    *("message", "detail", "error", "msg", "error_message", "error_msg", "error_description", "status_msg"),
    *("errorMessage", "faultstring", "fault", "description", "title", "reason", "Message", "errors", "base_resp"),
    *("Error", "Response"),
)
# Echoes of the request: no part of the failure, with arbitrary content.
ECHO_KEYS = frozenset({"body", "ctx", "failed_generation", "input", "request", "url"})

# "litellm.BadRequestError: OpenAIException - <the server's words>", and what LiteLLM adds after them (1.108, 2026-11).
WRAPPING = re.compile(r"^\s*(?:litellm\.)?\w*(?:Error|Exception): (?:litellm\.\w+: )?(?:\w*Exception - )?")
ADDITION = re.compile(
    r"(?:\.|(?<![.\s]))\s*+"
    r"(?:LiteLLM: model group|Received Model Group=|No fallback model group|To drop these, set).*$",
    re.DOTALL,
)

# A fault as Python writes it within a text (vLLM 0.32, SGLang 0.5.23, llama-cpp-python 0.3.36; 2026-11).
FAULT = re.compile(
    r"'loc': (?P<loc>\([^)]{1,200}\)|\[[^\]]{1,200}\]|'[^']{1,200}').{0,40}?"
    r"'msg': (?P<msg>'[^']{1,300}'|\"[^\"]{1,300}\")"
)

# Pages of proxies in place of an answer: nginx, Cloudflare, a sign-in.
PAGE = re.compile(r"\s*<(?:!doctype html|html|head|body|center|h1)\b", re.IGNORECASE)
PAGE_TITLE = re.compile(r"<(title|h1)[^>]{0,200}>(.{1,200}?)</\1>", re.IGNORECASE | re.DOTALL)
XML_MESSAGE = re.compile(
    r"\s*<(?:\?xml|Error)\b.{0,2000}?<Message>(?P<message>[^<]{1,2000})", re.IGNORECASE | re.DOTALL
)
TAG = re.compile(r"<[^<>]{1,200}>")
TRACEBACK = "Traceback (most recent call last)"

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True, repr=False)
class ReportedError:
    """`fields`: the error's own object. `sentence`: fit for a client, "" when nothing was said.

    `words`: everything that was said, for rules. `pointers`: paths in the request that the failure is about.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    sentence: str = ""
    words: str = ""
    pointers: tuple[str, ...] = ()


def read_body(body: bytes) -> ReportedError:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body[: 4 * READ_LIMIT].decode("utf-8", "replace")
        if PAGE.match(text):
            title = PAGE_TITLE.search(text)
            sentence = f"The upstream answered with a web page{': ' + _plain(title[2]) if title else ''}."
            return ReportedError(sentence=_fit(sentence), words=_plain(text)[:READ_LIMIT])
        if (found := XML_MESSAGE.match(text)) is not None:  # AWS and Azure
            return ReportedError(sentence=_fit(unescape(found["message"])), words=_plain(text)[:READ_LIMIT])
        return read_value(text)
    return read_value(parsed)


def read_value(value: Any) -> ReportedError:
    """Read a body that has been parsed, or an error object within an answer."""
    leaves = list(_leaves(value, 0))[:MAX_VALUES]
    words = "\n".join([text for _, text in leaves])[:READ_LIMIT]
    pointers = dict.fromkeys(text for is_pointer, text in leaves if is_pointer)
    return ReportedError(_error_object(value), _fit(_sentence(value, 0)), words, tuple(pointers))


def _error_object(value: Any) -> Mapping[str, Any]:
    """Return the error in `{"error": {…}}`, `{"error": "…"}`, bare fields, or a list of these (Gemini)."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return {}
    error = value.get("error") or value
    return error if isinstance(error, dict) else {**value, "message": error}


def _leaves(value: Any, depth: int) -> Iterator[tuple[bool, str]]:
    """Yield for each text whether it is a path into the request, and the text."""
    if depth > MAX_DEPTH:
        return
    match value:
        case str():
            inner = _embedded(value)
            if inner is not None:
                yield from ((False, part) for part in _around(value) if part)
                yield from _leaves(inner, depth + 1)
                return
            yield False, value[:READ_LIMIT]
            yield from ((True, path) for path, _ in _faults(value))
        case dict():
            for key, inner in value.items():
                if key in ("param", "loc", "field", "path") and _to_path(inner):
                    yield True, _to_path(inner)
                elif key not in ECHO_KEYS:
                    yield from _leaves(inner, depth + 1)
        case list() | tuple():
            for inner in value:
                yield from _leaves(inner, depth + 1)


def _sentence(value: Any, depth: int) -> str:
    if depth > MAX_DEPTH:
        return ""
    match value:
        case str():
            inner = _embedded(value)
            sentence = _sentence(inner, depth + 1) if inner is not None else ""
            return sentence or _listed(f"{path}: {message}" for path, message in _faults(value)) or _unwrapped(value)
        case {"msg": str(message), "loc": place} if _to_path(place):
            return f"{_to_path(place)}: {message}"
        case dict():
            sentence = next(filter(None, (_sentence(value.get(key), depth + 1) for key in SENTENCE_KEYS)), "")
            return _with_provider(sentence, value, depth)
        case list() | tuple():
            return _listed(_sentence(inner, depth + 1) for inner in value[:MAX_FAULTS])
        case _:
            return ""


def _with_provider(sentence: str, value: Mapping[str, Any], depth: int) -> str:
    """Add the words of the provider behind OpenRouter, and FastAPI's list of faults beside a title."""
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    more = _sentence(metadata.get("raw"), depth + 1)
    if not more:
        more = _faults_beside(value.get("errors"), depth + 1)
    if more and more not in sentence:
        sentence = f"{sentence}: {more}" if sentence else more
    reasons = metadata.get("reasons")
    if isinstance(reasons, list) and reasons:
        sentence = f"{sentence} ({', '.join([str(reason) for reason in reasons])})"
    return sentence


def _faults_beside(errors: Any, depth: int) -> str:
    """A list of faults, or lists of them by field (Rails, Laravel)."""
    if isinstance(errors, dict) and errors and all(isinstance(faults, list) for faults in errors.values()):
        return _listed(f"{field}: {_sentence(faults, depth)}" for field, faults in list(errors.items())[:MAX_FAULTS])
    return _sentence(errors, depth) if isinstance(errors, list) else ""


def _listed(faults: Iterable[str]) -> str:
    return "; ".join(list(dict.fromkeys(filter(None, faults)))[:MAX_FAULTS])


def _embedded(text: str) -> Any:
    """The JSON, or the Python literal, that a text is or ends in; None for any other text."""
    start, end = _bounds(text)
    if not 0 <= start < end or len(text) > READ_LIMIT:
        return None
    part = text[start : end + 1]
    try:
        return orjson.loads(part)
    except orjson.JSONDecodeError:
        pass
    try:
        value = ast.literal_eval(part)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        # `literal_eval` runs nothing, but nested brackets exhaust its parser.
        return None
    return value if isinstance(value, dict | list) else None


def _bounds(text: str) -> tuple[int, int]:
    """The first and the last bracket of JSON inside a text; -1 where there is none."""
    start = min((index for index in (text.find("{"), text.find("[{")) if index >= 0), default=-1)
    return start, text.rfind("]" if text[start : start + 1] == "[" else "}")


def _around(text: str) -> tuple[str, str]:
    start, end = _bounds(text)
    return text[:start].strip(" -:`'\""), text[end + 1 :].strip(" -:`'\".")


def _faults(text: str) -> list[tuple[str, str]]:
    """Path and message of each fault in a text, as Python writes a list of them."""
    found = []
    for match in FAULT.finditer(text[:READ_LIMIT]):
        place = [step.strip(" '") for step in match["loc"].strip("()[]'").split(",")]
        found.append((_to_path(place if len(place) > 1 else place[0]), match["msg"][1:-1]))
    return found


def _unwrapped(text: str) -> str:
    """A server's own words, out of those that a proxy put around them; of a stack only its last line."""
    if TRACEBACK in text:
        text = text.rstrip().rpartition("\n")[2]
    text = ADDITION.sub("", text[:READ_LIMIT])
    return WRAPPING.sub("", text, count=1).strip() or text.strip()


def _to_path(place: Any) -> str:
    """`messages.0.content` of a list of steps or a text, without FastAPI's leading `body`."""
    if isinstance(place, list | tuple):
        steps = [str(step) for step in place if isinstance(step, str | int)]
    elif isinstance(place, str):
        steps = re.split(r" -> |\.", place[:MESSAGE_LIMIT])
    else:
        return ""
    return ".".join(steps[1:] if steps[:1] == ["body"] else steps)


def _plain(page: str) -> str:
    return " ".join(unescape(TAG.sub(" ", page)).split())


def _fit(text: str) -> str:
    return UNPRINTABLE.sub(" ", text[:READ_LIMIT])[:MESSAGE_LIMIT].strip()
