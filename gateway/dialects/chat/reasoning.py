"""Reasoning that survives the trip: an upstream's reasoning_details to thinking blocks, and back on the next request.

A Claude signature travels raw, so that the block also works at Anthropic. Everything else (summaries, encrypted parts,
Gemini's and OpenAI's forms, kinds not known yet) is shown as text where it has any, and travels whole and in order in
an envelope in the block's opaque string. No state is kept here: each request brings its own history.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

from gateway.access.keyring import Keyring
from gateway.dialects.chat.citations import FILES
from gateway.dialects.chat.vocabulary import CLAUDE_FORMAT, FORMAT_FAMILIES, SIGNING_FAMILIES
from gateway.errors import UpstreamError
from gateway.json_values import to_string
from gateway.messages.envelope import NATIVE_THINKING, Envelope, RejectedEnvelope, open_envelope, seal
from gateway.messages.notes import Note
from gateway.schemas.openai import ReasoningEntry
from gateway.upstream.models.target import Target, same_model, signs_thinking

# Of an entry that is no reasoning, and travels with it.
CALL_EXTRA = "call.extra_content"

# Entries that may still grow while others come: some models summarise a few parts side by side. All are looked through
# for each fragment.
MAX_LOOKED_BACK = 16
# Of one block; an upstream that loops is stopped before it fills memory.
MAX_ENTRIES = 20_000
TEXT_FIELDS = {"reasoning.text": "text", "reasoning.summary": "summary"}


def merge_entry(entries: list[ReasoningEntry], entry: ReasoningEntry) -> str:
    """Fold one streamed entry into `entries`, in place; return the visible text that it adds.

    Fragments with one (type, index, id) are one entry: text is joined, and the first signature, format and id stay.
    Encrypted data is never joined; the same entry sent again counts once.
    """
    earlier: Any = _earlier_part(entries, entry)
    if earlier is None:
        if entry.get("type") in TEXT_FIELDS or entry not in islice(reversed(entries), MAX_LOOKED_BACK):
            if len(entries) >= MAX_ENTRIES:
                raise UpstreamError("The upstream sent more reasoning entries than the gateway accepts.")
            entries.append(entry.copy())
        return to_string(entry.get("text")) or to_string(entry.get("summary"))
    name = TEXT_FIELDS[entry["type"]]
    fragment = to_string(entry.get(name))
    if fragment:
        text = to_string(earlier.get(name))
        earlier[name] = None  # leaves `text` as the only reference, so that += grows the string in place: 9 × faster
        text += fragment
        earlier[name] = text
    for key in ("signature", "format", "id"):
        if earlier.get(key) is None and entry.get(key) is not None:
            earlier[key] = entry[key]
    return fragment


def continues(entries: Sequence[ReasoningEntry], entry: ReasoningEntry, model: str) -> bool:
    """Return whether `entry` belongs in the thinking block that already holds `entries`.

    Each part of Claude's reasoning needs a separate block, since its signature covers that part alone.
    """
    return not entries or not signs_thinking(model) or _earlier_part(entries, entry) is not None


def to_signature(entries: Sequence[ReasoningEntry], model: str, keyring: Keyring) -> str:
    """The signature of a thinking block that shows these entries. Never empty; no entries: the reasoning was plain."""
    if len(entries) == 1 and entries[0].get("type") == "reasoning.text" and _is_claudes(entries[0], model):
        signature = to_string(entries[0].get("signature"))
        if signature:
            return signature
    return seal(entries, model, keyring)


def to_redacted_data(entries: Sequence[ReasoningEntry], model: str, keyring: Keyring) -> str:
    """The data of a redacted_thinking block for entries that show no text."""
    if len(entries) == 1 and entries[0].get("type") == "reasoning.encrypted" and _is_claudes(entries[0], model):
        data = to_string(entries[0].get("data"))
        if data:
            return data
    return seal(entries, model, keyring)


@dataclass(frozen=True, slots=True, repr=False)
class ReasoningReplay:
    """Reasoning that one assistant message gives back. `details` None: send none; []: return the upstream's empty list.

    `files`: annotations of files, and `extras`: what belongs to calls, by their ids; both travel in the same way.
    """

    details: list[ReasoningEntry] | None = None
    plain: str | None = None
    files: list[ReasoningEntry] = field(default_factory=list)
    extras: dict[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


def to_call_entry(call_id: str, extra_content: Mapping[str, Any]) -> ReasoningEntry:
    """An entry that carries what an upstream wants back with a call: Gemini's thought signature, on OpenAI's API."""
    return cast(ReasoningEntry, {"type": CALL_EXTRA, "id": call_id, "extra_content": extra_content})


def to_reasoning_details(
    blocks: Iterable[dict[str, Any]], target: Target, keyring: Keyring, path: str = "content"
) -> ReasoningReplay:
    """Open the thinking blocks of one assistant message, in block order. `path` is where notes say they stand.

    What the target could not verify, or would answer with an error, is left out with a note: a block another model
    made, an envelope this deployment did not write, Claude's or Gemini's text without its signature. Targets that take
    plain text get the text of any model.
    """
    if target.reasoning_field != "reasoning_details":
        return _to_plain(blocks, target, keyring, path)
    details: list[ReasoningEntry] = []
    files: list[ReasoningEntry] = []
    texts: list[str] = []
    reasons: list[str] = []
    explicitly_empty = False
    for block in blocks:
        opened = _open_block(block, len(details), target, keyring, files)
        if isinstance(opened, str):
            reasons.append(opened)
            continue
        kept = [entry for entry in opened or () if _is_welcome(entry, target)]
        if opened and len(kept) < len(opened):
            reasons.append("reasoning that this model could not verify")
        details.extend(kept)
        explicitly_empty = explicitly_empty or opened == []
        if block.get("thinking") and not opened:
            texts.append(block["thinking"])
    notes = tuple(Note("dropped", path, reason) for reason in dict.fromkeys(reasons))
    plain = "\n\n".join(texts) or None
    if details:
        return ReasoningReplay(details, files=files, notes=notes)
    return ReasoningReplay([] if explicitly_empty else None, plain, files, notes=notes)


def _to_plain(blocks: Iterable[dict[str, Any]], target: Target, keyring: Keyring, path: str) -> ReasoningReplay:
    """The text of the blocks, and what belongs to calls of the same model."""
    texts: list[str] = []
    extras: dict[str, Any] = {}
    reasons: list[str] = []
    for block in blocks:
        model, entries = _sealed(block, keyring)
        of_calls = [entry for entry in entries if entry.get("type") == CALL_EXTRA]
        if model is not None and same_model(model, target.model):
            extras |= {to_string(entry.get("id")): cast(Any, entry)["extra_content"] for entry in of_calls}
        # A client that asked not to see the thinking gives back the sealed entries only.
        text = block.get("thinking") or "".join(map(_text_of, entries))
        if model == FILES:
            reasons.append("this upstream takes no annotations of files")
        elif text and target.reasoning_field is not None:
            texts.append(text)
        elif text or len(of_calls) < len(entries) or model is None:
            reasons.append("this upstream takes no earlier reasoning" if text else "reasoning without text")
    notes = tuple(Note("dropped", path, reason) for reason in dict.fromkeys(reasons))
    return ReasoningReplay(plain="\n\n".join(texts) or None, extras=extras, notes=notes)


def _sealed(block: Mapping[str, Any], keyring: Keyring) -> tuple[str | None, list[ReasoningEntry]]:
    """The model and the entries in a block's envelope; None where it has none that can be opened."""
    match open_envelope(block.get("signature") or block.get("data") or "", keyring):
        case Envelope(model, entries):
            return model, entries
        case _:
            return None, []


def _text_of(entry: ReasoningEntry) -> str:
    return to_string(entry.get("text")) or to_string(entry.get("summary"))


def drop_repeated_entries(messages: Sequence[dict[str, Any]]) -> bool:
    """Keep the newest of entries with one id in several chat messages: OpenAI answers 400 to a repeated id.

    Only for OpenAI's models. Elsewhere ids repeat legally: Gemini's are tool-call ids, which may start over each turn.
    """
    seen: set[str] = set()
    dropped = False
    for message in reversed(messages):
        details = message.get("reasoning_details")
        if not details:
            continue
        kept = [entry for entry in details if to_string(entry.get("id")) not in seen]
        if len(kept) < len(details):
            dropped = True
            message["reasoning_details"] = kept
            if not kept:
                del message["reasoning_details"]
        seen.update(entry["id"] for entry in kept if to_string(entry.get("id")))
    return dropped


def _earlier_part(entries: Sequence[ReasoningEntry], entry: ReasoningEntry) -> ReasoningEntry | None:
    """The entry that `entry` is a further fragment of. Without an index only the last one can be."""
    if not entries or entry.get("type") not in TEXT_FIELDS:
        return None
    if _is_same(entries[-1], entry):
        return entries[-1]
    if entry.get("index") is None:
        return None
    return next((part for part in islice(reversed(entries), MAX_LOOKED_BACK) if _is_same(part, entry)), None)


def _is_same(one: ReasoningEntry, other: ReasoningEntry) -> bool:
    if one.get("type") != other.get("type") or one.get("index") != other.get("index"):
        return False
    one_id, other_id = one.get("id"), other.get("id")
    return one_id is None or other_id is None or one_id == other_id


def _is_claudes(entry: ReasoningEntry, model: str) -> bool:
    return entry.get("format") in (None, CLAUDE_FORMAT) and signs_thinking(model)


def _open_block(
    block: dict[str, Any], index: int, target: Target, keyring: Keyring, files: list[ReasoningEntry]
) -> list[ReasoningEntry] | str | None:
    """Its entries; None where it is plain text without any; or, in words, why it cannot be given back.

    A block that carries annotations of files only adds them to `files`.
    """
    opaque = block.get("signature") or block.get("data") or ""
    match open_envelope(opaque, keyring):
        case Envelope(model, entries) if model == FILES and target.openrouter:
            files.extend(entries)
            return None
        case Envelope(model, entries):
            return entries if same_model(model, target.model) else "reasoning that another model made"
        case RejectedEnvelope(reason):
            return f"reasoning in an envelope that could not be opened ({reason})"
        case None if opaque:
            return [_claude_entry(block, index)] if target.claude else "reasoning that only Claude can read"
        case _:
            return None if target.family not in SIGNING_FAMILIES else "reasoning without a signature"


def _claude_entry(block: dict[str, Any], index: int) -> ReasoningEntry:
    if block["type"] == "redacted_thinking":
        return {"type": "reasoning.encrypted", "data": block["data"], "format": CLAUDE_FORMAT, "index": index}
    return {
        "type": "reasoning.text",
        "text": block["thinking"],
        "signature": block["signature"],
        "format": CLAUDE_FORMAT,
        "index": index,
    }


def _is_welcome(entry: ReasoningEntry, target: Target) -> bool:
    """Return whether the target takes the entry back: made by its own family, and signed where that family checks."""
    if entry.get("type") in (CALL_EXTRA, NATIVE_THINKING):
        return False
    family = FORMAT_FAMILIES.get(to_string(entry.get("format")), target.family)
    if target.family not in (family, "other"):
        return False
    unsigned = entry.get("type") == "reasoning.text" and not entry.get("signature")
    return not (unsigned and family in SIGNING_FAMILIES)
