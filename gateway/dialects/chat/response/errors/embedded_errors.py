"""Failures that an upstream reports inside a 200: beside its choices, instead of them, or as an event named `error`.

Servers have no common form for them. A value is a failure if it says so by one of the names below and is no part of an
answer; a part of an answer may hold any of these names for its own ends (`code: 0`, `message: "Success"`).
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.chat.response.errors.client_error import to_embedded_error
from gateway.dialects.reply import Reply
from gateway.errors import GatewayError
from gateway.json_values import to_mapping
from gateway.sse import ERROR_EVENT

# Fields that replace an answer and name a failure: FastAPI's `detail`, Cloudflare's `errors`, and what vendors of
# business codes use (MiniMax, Zhipu, Baidu, DashScope, iFlytek).
FAILURE_FIELDS = (
    *("detail", "errors", "message", "msg", "code", "error_code", "error_msg", "error_message"),
    *("status_code", "status_msg", "err_code", "err_msg", "errorCode", "errorMessage"),
)
# Values of these that mean no failure.
GOOD_VALUES = frozenset({"", "0", "200", "ok", "success", "succeeded", "none", "true"})
# Signs of life that may come with a sentence.
QUIET_KINDS = frozenset(
    {"heartbeat", "info", "keep-alive", "keepalive", "ping", "processing", "progress", "queue", "queued", "status"}
)
KIND_FIELDS = ("type", "event", "object", "status")
# A payload that was written without regard to JSON, as transformers 5.19 does: `{"error": "…` over several lines.
RAW_FAILURE = re.compile(rb'\s*\{\s*"(?:error|detail|message)"\s*:\s*"?', re.ASCII)

# Names of a field that holds a failure, whole or as a text: `exception`, `err`, `fault`, AWS's
# `modelStreamErrorException`, Ollama's `error parsing tool call`.
FAILURE_NAME = re.compile(r"(?:^|_)(?:err|error|exception|failure|fault)$|(?:Error|Exception|Fault)$|^error ")

CODE_FIELDS = ("code", "http_status", "error_code", "status_code", "err_code", "errorCode")
# Types of an error that need no other word (OpenAI's, vLLM's).
REFUSALS = frozenset({"invalid_request_error", "BadRequestError"})
HTTP_ERRORS = 400
HTTP_FAILURE = re.compile(r"[45]\d\d", re.ASCII)
# HTTP status by MiniMax's codes (its API's page of errors, 2026-11).
OUTCOME_CODES = {
    "1001": 504,
    "1002": 429,
    "1004": 401,
    "1008": 402,
    "1026": 400,
    "1027": 400,
    "1039": 429,
    "1041": 429,
    "1042": 400,
    "2013": 400,
    "2049": 401,
    "2056": 429,
}
# HTTP status by the words of others, the first that apply.
WORDS = tuple(
    (re.compile(pattern, re.IGNORECASE), status)
    for pattern, status in (
        (r"insufficient[_ ](?:balance|quota|credit|fund)|balance .{0,20}(?:insufficient|low)|arrear|余额|欠费", 402),
        (r"rate.?limit|too many requests|quota.{0,20}exceeded|throttl|限流|频率|并发", 429),
        (r"(?:invalid|incorrect|missing|expired).{0,20}(?:api.?key|token)|unauthori[sz]ed|authenticat|鉴权", 401),
        (r"overload|too busy|no capacity|unavailable|\bslow_?down\b|过载|繁忙", 503),
        (r"time[d ]?.?out|超时", 504),
        (r"sensitive|moderation|content.?polic|敏感|invalid.?(?:param|request|argument)|bad.?request|参数", 400),
    )
)


def error_in(answer: Mapping[str, Any], choice: Mapping[str, Any] | None, reply: Reply) -> GatewayError | None:
    """Return the failure that the JSON of a 200, or a chunk, reports."""
    choice_fields = choice or {}
    details = answer.get("error") or choice_fields.get("error") or to_mapping(choice_fields.get("delta")).get("error")
    if details is True:  # a flag; the words stand beside it
        details = {name: value for name, value in answer.items() if name != "error"}
    if details and "choices" in answer and _is_blank(details):
        answer, details = {name: value for name, value in answer.items() if name != "error"}, None
    if not details and (choice is None or "base_resp" in answer):
        details = _failure_of(answer, has_choice=choice is not None)
    return to_embedded_error(_with_status(details), reply) if details else None


def error_of_event(payload: bytes, reply: Reply) -> GatewayError:
    """Return the failure that an event named `error` reports, with data of any form."""
    payload = payload.removeprefix(ERROR_EVENT)
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return to_embedded_error(_with_status(_text(payload)), reply)
    details = value.get("error") or _failure_of(value, has_choice=False) if isinstance(value, dict) else value
    return to_embedded_error(_with_status(details or value), reply)


def error_of_broken(payload: bytes, reply: Reply) -> GatewayError | None:
    """The failure in a payload that begins like one and is no JSON; None for any other payload."""
    found = RAW_FAILURE.match(payload)
    return to_embedded_error(_text(payload[found.end() :]), reply) if found else None


def _failure_of(answer: Mapping[str, Any], *, has_choice: bool) -> Mapping[str, Any] | None:
    """Return the part of an answer, or of its substitute, that reports a failure."""
    outcome = answer.get("base_resp")  # MiniMax's, in every answer
    if isinstance(outcome, Mapping) and not _is_good(outcome.get("status_code")):
        code = str(outcome.get("status_code"))
        return {"code": code, "message": outcome.get("status_msg"), "http_status": OUTCOME_CODES.get(code)}
    if has_choice or answer.get("usage"):
        return None
    inner = answer.get("Response")  # Tencent's
    if isinstance(inner, Mapping) and isinstance(inner.get("Error"), Mapping):
        return {"code": inner["Error"].get("Code"), "message": inner["Error"].get("Message")}
    if (named := _named_failure(answer)) is not None:
        return named
    kinds = {value for name in KIND_FIELDS if isinstance(value := answer.get(name), str)}
    errors = answer.get("errors")  # Cloudflare's
    if isinstance(errors, list) and errors and isinstance(errors[0], Mapping):
        return errors[0]
    status = answer.get("status")  # of a problem document (RFC 9457)
    if "error" in kinds or answer.get("success") is False or (type(status) is int and status >= HTTP_ERRORS):
        return answer
    if not QUIET_KINDS.isdisjoint(kinds):
        return None
    codes = [answer[name] for name in CODE_FIELDS if name in answer]
    if codes and all(map(_is_good, codes)):
        return None
    return answer if any(not _is_good(answer.get(name)) for name in FAILURE_FIELDS) else None


def _named_failure(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what stands under the name of a failure, directly or within one of its objects (`response.error`)."""
    for name, value in answer.items():
        if value and FAILURE_NAME.search(name):
            if isinstance(value, str):
                return {"message": f"{name}: {value}" if " " in name else value}
            return value if isinstance(value, Mapping) else answer
        if isinstance(value, Mapping) and isinstance(value.get("error"), Mapping | str) and value["error"]:
            inner = value["error"]
            return inner if isinstance(inner, Mapping) else {"message": inner}
    return None


def _is_blank(details: Any) -> bool:
    """Return whether no field of an error says anything: some servers have one in every chunk (one-api)."""
    return isinstance(details, Mapping) and all(not one or str(one).lower() in GOOD_VALUES for one in details.values())


def _is_good(value: object) -> bool:
    """Return whether one of the fields above reports no failure. A message that is an object is an answer."""
    return not value or isinstance(value, dict) or str(value).lower() in GOOD_VALUES


def _with_status(details: Any) -> Any:
    """Add the HTTP status that its code or its words imply, unless it already refuses the request."""
    if isinstance(details, str):
        details = {"message": details}
    if not isinstance(details, Mapping) or str(details.get("type")) in REFUSALS:
        return details
    codes = [str(details[name]) for name in CODE_FIELDS if name in details]
    status = next((int(code) for code in codes if HTTP_FAILURE.fullmatch(code)), None)
    if status is None:
        words = " ".join([str(value) for value in details.values() if isinstance(value, str)])
        status = next((status for pattern, status in WORDS if pattern.search(words)), None)
    return {**details, "http_status": status} if status else details


def _text(payload: bytes) -> str:
    return payload.decode("utf-8", "replace").strip(' \r\n"}')
