"""Map an upstream's finish reasons to Anthropic's stop reasons.

A table, read top down; the first signal that applies decides. A call that the model finished ends in `tool_use`
for any word of the upstream, since clients act on the stop reason, not on the content. One that a token limit
or a stop sequence may have cut never does: clients would run half of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.dialects.reply import Reply
from gateway.errors import AnswerCut, GatewayError, MalformedOutput, Overloaded

# As many tokens as the longest answers have; each may bring twenty alternatives, all kept until the end of a stream.
MAX_LOGPROBS = 131_072
# Where a choice names the stop sequence that ended it: vLLM 0.32, SGLang 0.5, llama.cpp's word for it, Anthropic's.
MATCH_FIELDS = ("stop_reason", "matched_stop", "stopping_word", "stop_sequence")


@dataclass(slots=True, repr=False)
class Finish:
    """Signals of the end so far; later chunks only fill in missing fields."""

    reason: str | None = None
    native: str | None = None
    refusal: str | None = None
    stop_details: dict[str, Any] | None = None
    matched: str | None = None  # the stop sequence that the gateway itself found
    stopped_at: str | None = None  # the stop sequence that the upstream says it found
    logprobs: dict[str, list[Any]] | None = None
    read: int = 0  # tokens of the prompt, by the upstream's count; known at the end
    spent: int = 0  # tokens written, likewise
    has_choice: bool = False  # whether any part of an answer has come
    said: bool = False  # whether a finish reason has come at all
    is_early: bool = False  # whether content came after it: some servers say a reason with every chunk

    @property
    def is_over(self) -> bool:
        """Whether the client has all of its message, so that the upstream may go without another word."""
        return self.said or self.matched is not None

    def note(self, choice: dict[str, Any]) -> None:
        """Take what one choice of a chunk (or of a whole answer) says."""
        self.has_choice = True
        reason = choice.get("finish_reason") or choice.get("finishReason")  # Gemini's compatible API, 2024-12
        if isinstance(reason, str) and reason:
            # Gemini's API of OpenAI's form: `content_filter: PROHIBITED_CONTENT`.
            general, _, exact = reason.partition(": ")
            self.reason = _word(general)
            self.native = _word(exact) if exact else self.native
            self.said = True
            if not choice.keys().isdisjoint(MATCH_FIELDS):
                self.stopped_at = next((word for name in MATCH_FIELDS if (word := _string(choice.get(name)))), None)
        native = choice.get("native_finish_reason")
        if isinstance(native, str) and native:
            self.native = _word(native)
        details = choice.get("stop_details")
        if isinstance(details, dict):
            self.stop_details = details
        logprobs = choice.get("logprobs")
        if logprobs:  # lists of tokens, `content` and `refusal`, which a stream brings in pieces
            kept = self.logprobs = self.logprobs or {}
            for name, tokens in logprobs.items() if isinstance(logprobs, dict) else ():
                if isinstance(tokens, list):
                    known = kept.setdefault(name, [])
                    known += tokens[: MAX_LOGPROBS - len(known)]


def to_extension(finish: Finish, chunk: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    """Fields of a message beyond Anthropic's, which the client asked for. `chunk`: an answer, or the last
    piece of a stream."""
    fields: dict[str, Any] = {"logprobs": finish.logprobs} if finish.logprobs else {}
    fingerprint = chunk.get("system_fingerprint") if reply.is_seeded else None
    if fingerprint and isinstance(fingerprint, str):
        fields["system_fingerprint"] = fingerprint
    return fields


@dataclass(slots=True, repr=False)
class StopFields:
    reason: str
    sequence: str | None = None
    details: dict[str, Any] | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Return them under the names they have in a message."""
        return {"stop_reason": self.reason, "stop_sequence": self.sequence, "stop_details": self.details}


# Words of all upstreams in lower case, with `_` for `-`; Zhipu says `sensitive`, Cohere `ERROR_TOXIC`.
REFUSALS = frozenset(
    {
        "blocklist",
        "content_filter",
        "content_filtered",
        "error_toxic",
        "guardrail_intervened",
        "image_prohibited_content",
        "image_recitation",
        "image_safety",
        "model_armor",
        "prohibited_content",
        "recitation",
        "refusal",
        "safety",
        "sensitive",
        "spii",
    }
)
STOP_REASONS: dict[str | None, str] = {
    "model_context_window_exceeded": "model_context_window_exceeded",
    "model_length": "model_context_window_exceeded",  # Mistral
    "incomplete": "max_tokens",
    "length": "max_tokens",
    "max_length": "max_tokens",
    "max_output_tokens": "max_tokens",
    "max_tokens": "max_tokens",
    "token_limit": "max_tokens",
    "stop_sequence": "stop_sequence",
    "pause_turn": "pause_turn",
    "compaction": "compaction",
}
# Words for the limit of the answer that are not in the table: `max_tokens_reached`, `token_limit_exceeded`,
# LM Studio's `maxPredictedTokensReached`.
LIMIT_WORDS = re.compile(
    r"max_?(?:output_|completion_|new_|predicted)?(?:tokens|length)|token_limit|length_limit|context_?length"
)
# Where the reason and the native reason mean two things, the first of these; anything else is `end_turn`.
NO_REASON: frozenset[str | None] = frozenset({None})
PRECEDENCE = ("max_tokens", "stop_sequence", "pause_turn", "compaction")
# Reasons that end a call too: it may lack its end even where it looks whole, since SGLang completes its arguments.
ENDS_OF_CALLS = frozenset({"max_tokens", "stop_sequence"})
# Tokens: some servers end one or two before the last; and what contexts are multiples of.
CONTEXT_MARGIN = 2
LEAST_CONTEXT = 2048
CONTEXT_STEP = 256
# Output that a server could not read: Gemini's words for it, and Bedrock's.
BROKEN_CALLS = frozenset(
    {
        "malformed_function_call",
        "malformed_model_output",
        "malformed_response",
        "malformed_tool_use",
        "too_many_tool_calls",
        "unexpected_tool_call",
    }
)
# An answer that its server did not end: DeepSeek's and Zhipu's words for it, vLLM's and SGLang's, and close relatives.
FAILURES = frozenset(
    {
        "abort",
        "aborted",
        "cancelled",
        "canceled",
        "engine_error",
        "error",
        "failed",
        "insufficient_system_resource",
        "internal_error",
        "interrupted",
        "network_error",
        "server_error",
        "timeout",
    }
)
# And of one that its server had no room for: OpenAI's codes, Anthropic's and its own type.
OVERLOADS = frozenset(
    {"engine_overloaded", "overloaded", "overloaded_error", "server_is_overloaded", "server_overloaded", "slow_down"}
)


def to_stop(finish: Finish, *, has_tools: bool, has_cut_call: bool, reply: Reply) -> StopFields:
    """The stop reason by the table; `refusal` carries details where the upstream gives any.

    A finish of `tool_calls` without any call is an `end_turn`: clients hang on `tool_use` without a block.
    Where the gateway found a stop sequence, the upstream's own end came after the end of ours.
    """
    if finish.refusal is None and finish.matched is not None:
        return StopFields("stop_sequence", sequence=finish.matched)
    if finish.refusal is not None or finish.native in REFUSALS or finish.reason in REFUSALS:
        given = finish.stop_details or {}
        category, explanation = given.get("category"), given.get("explanation")
        return StopFields(
            "refusal",
            details={
                "type": "refusal",
                "category": category if isinstance(category, str) else None,
                "explanation": explanation if isinstance(explanation, str) and explanation else finish.refusal,
            },
        )
    if finish.stopped_at in reply.sent_stop_sequences:
        return StopFields("stop_sequence", sequence=finish.stopped_at)
    meant = _meant(finish)
    if "model_context_window_exceeded" in meant or ("max_tokens" in meant and _fills_context(finish, reply)):
        return StopFields("model_context_window_exceeded")
    reason = next((reason for reason in PRECEDENCE if reason in meant), None) if meant != NO_REASON else None
    if reason in ENDS_OF_CALLS or (reason is not None and not has_tools):
        return StopFields(reason, sequence=_only_sequence(reply) if reason == "stop_sequence" else None)
    if has_cut_call:
        # The likeliest reason for a call without its end of which the upstream gave none: never one to run it.
        if reply.sent_stop_sequences and not _is_at_limit(finish, reply):
            return StopFields("stop_sequence", sequence=_only_sequence(reply))
        return StopFields("max_tokens")
    return StopFields("tool_use" if has_tools else "end_turn")


def may_cut_calls(finish: Finish, reply: Reply) -> bool:
    """Return whether a call without its end may have been cut by the token limit, the context or a stop sequence.

    A server that finds a sequence within a call often does not say so (llama.cpp, LiteLLM; vLLM's reason is
    `tool_calls`), and some have that reason for a call at the limit too.
    """
    if finish.matched is not None or reply.sent_stop_sequences or _is_at_limit(finish, reply):
        return True
    return not ENDS_OF_CALLS.isdisjoint(_meant(finish)) or "model_context_window_exceeded" in _meant(finish)


def _meant(finish: Finish) -> frozenset[str | None]:
    return frozenset((meaning_of(finish.native), meaning_of(finish.reason)))


def meaning_of(word: str | None) -> str | None:
    """Return Anthropic's stop reason for an upstream's word; None for a word that means the end of a turn, or none."""
    meaning = STOP_REASONS.get(word)
    return "max_tokens" if meaning is None and word is not None and LIMIT_WORDS.search(word) else meaning


def _is_at_limit(finish: Finish, reply: Reply) -> bool:
    return reply.max_tokens is not None and finish.spent >= reply.max_tokens


def _fills_context(finish: Finish, reply: Reply) -> bool:
    """Return whether an answer ended at the end of the context, which servers report like the answer's limit.

    Where the context is unknown, a sum that is a multiple of 256 is the end of one (llama.cpp, vLLM, 2026-11).
    """
    total = finish.read + finish.spent
    if not finish.read or reply.max_tokens is None or finish.spent >= reply.max_tokens:
        return False
    if reply.context_length is not None:
        return total >= reply.context_length - CONTEXT_MARGIN
    return total >= LEAST_CONTEXT and total % CONTEXT_STEP == 0


def _only_sequence(reply: Reply) -> str | None:
    """The sequence that stopped the upstream, if it can only have been the one."""
    sent = reply.sent_stop_sequences
    return sent[0] if len(sent) == 1 else None


def broken_finish(finish: Finish) -> GatewayError | None:
    """Return the error for a finish reason: a broken answer is never an end of turn."""
    if not BROKEN_CALLS.isdisjoint((finish.native, finish.reason)):
        return MalformedOutput("The model produced a malformed tool call; trying again may help.")
    return failure_of(finish.reason)


def failure_of(word: str | None) -> GatewayError | None:
    """Return the error for a word that some servers have in place of a reason why the answer ended."""
    if word in OVERLOADS:
        return Overloaded("The upstream had no room for the answer.")
    if word in FAILURES:
        return AnswerCut("The upstream failed while it was answering.")
    return None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _word(reason: str) -> str:
    """`MAX_TOKENS`, `content-filter` and the like as the tables have them; most come so."""
    return reason if reason.islower() and "-" not in reason else reason.lower().replace("-", "_")
