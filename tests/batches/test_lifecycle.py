"""A batch as clients see it at every stage, checked with the official SDK's own types."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.batches.lifecycle import (
    BatchOptions,
    BatchRecord,
    Lifetimes,
    created_of,
    request_counts,
    to_batch_id,
    to_fields,
    to_message_batch,
    to_rfc3339,
    unrecorded_line,
    worker_lost_line,
)

DAY = 24 * 3600 * 1000
CREATED = 1_795_381_988_653
READ = CREATED + 1000


def record_of(*, read: int = READ, options: BatchOptions | None = None, **fields: Any) -> BatchRecord:
    """A batch of ten, as it is stored: with what `to_fields` and the scripts write."""
    extra: dict[str, str | int] = {"v": 1, "max_lost": 3, "models": '["m"]', "digest": ""}
    stored = to_fields("acme", options or BatchOptions(), Lifetimes(), CREATED, extra)
    stored |= {"st": "in_progress", "rest": "", "total": 10, "spend": 0, "next": 0} | fields
    hashed = {name.encode(): str(value).encode() for name, value in stored.items()}
    return BatchRecord.of(to_batch_id(CREATED, bytes(9)), hashed, read)


ENDED = {"st": "ended", "ended": CREATED + 500, "n_ok": 6, "n_err": 1}
ALL_RECORDED = {**ENDED, "n_ok": 7, "n_err": 3}

# Stage: stored fields, then counts as (processing, succeeded, errored, canceled, expired).
STAGES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "in progress, with results": ({"n_ok": 0}, (10, 0, 0, 0, 0)),
    "canceling": ({"st": "canceling", "rest": "canceled", "cancel": CREATED + 9}, (10, 0, 0, 0, 0)),
    "stopped by expiry, items still in flight": ({"rest": "expired"}, (10, 0, 0, 0, 0)),
    "ended, all recorded": (ALL_RECORDED, (0, 7, 3, 0, 0)),
    "canceled too late to matter": ({**ALL_RECORDED, "rest": "canceled"}, (0, 7, 3, 0, 0)),
    "canceled": ({**ENDED, "rest": "canceled"}, (0, 6, 1, 3, 0)),
    "expired": ({**ENDED, "rest": "expired"}, (0, 6, 1, 0, 3)),
    "stopped by its spend cap": ({**ENDED, "rest": "capped"}, (0, 6, 4, 0, 0)),
}


@pytest.mark.parametrize(("fields", "counts"), STAGES.values(), ids=STAGES)
def test_counts_are_those_of_the_stage(fields: dict[str, Any], counts: tuple[int, ...]) -> None:
    shown = request_counts(record_of(**fields))
    names = ("processing", "succeeded", "errored", "canceled", "expired")
    assert tuple(shown[name] for name in names) == counts  # type: ignore[literal-required]
    assert sum(counts) == 10


@given(
    total=st.integers(1, 1000),
    ok=st.integers(0, 1000),
    err=st.integers(0, 1000),
    status=st.sampled_from(["in_progress", "canceling", "ended"]),
    rest=st.sampled_from(["", "canceled", "expired", "capped"]),
)
@settings(max_examples=100)
@pytest.mark.covers("Batches · states and counts")
def test_counts_always_sum_to_the_total(total: int, ok: int, err: int, status: str, rest: str) -> None:
    ok, err = min(ok, total), min(err, max(0, total - ok))
    counts = request_counts(record_of(total=total, st=status, rest=rest, n_ok=ok, n_err=err))
    assert sum(counts.values()) == total  # type: ignore[arg-type]
    assert status == "ended" or counts["processing"] == total


@pytest.mark.parametrize("fields", [fields for fields, _ in STAGES.values()], ids=STAGES)
def test_the_sdk_reads_the_batch_at_every_stage(fields: dict[str, Any]) -> None:
    shown = to_message_batch(record_of(**fields), "https://gateway.example")
    assert set(shown) == set(MessageBatch.model_fields), "every field is there, also when it is null"
    MessageBatch.model_validate(shown, strict=False)


def test_times_are_those_of_the_stages() -> None:
    running = to_message_batch(record_of(), "")
    assert running["created_at"] == "2026-11-22T21:13:08.653000Z"
    assert running["expires_at"] == "2026-11-23T21:13:08.653000Z"
    assert (running["ended_at"], running["cancel_initiated_at"], running["archived_at"]) == (None, None, None)
    ended = to_message_batch(record_of(**ENDED, rest="canceled", cancel=CREATED + 400), "")
    assert ended["cancel_initiated_at"] == "2026-11-22T21:13:09.053000Z"
    assert ended["ended_at"] == "2026-11-22T21:13:09.153000Z"


def test_results_have_an_address_from_the_end_until_they_are_archived() -> None:
    path = f"/v1/messages/batches/{record_of().id}/results"
    assert to_message_batch(record_of(), "https://g")["results_url"] is None
    assert to_message_batch(record_of(**ENDED), "https://g")["results_url"] == "https://g" + path
    assert to_message_batch(record_of(**ENDED), "")["results_url"] == path
    last_moment = to_message_batch(record_of(**ENDED, read=CREATED + 29 * DAY - 1), "")
    assert last_moment["results_url"] is not None
    assert last_moment["archived_at"] is None
    archived = to_message_batch(record_of(**ENDED, read=CREATED + 29 * DAY), "")
    assert archived["results_url"] is None
    assert archived["archived_at"] == to_rfc3339(CREATED + 29 * DAY)
    assert archived["request_counts"]["succeeded"] == 6, "what is known of the batch stays"


def test_options_come_back_as_they_were_given() -> None:
    options = BatchOptions(
        priority=2, spend_cap=5_000_000, api_version="2023-01-01", betas=("a", "b"), context={"request_id": "req_1"}
    )
    record = record_of(options=options)
    assert (record.priority, record.spend_cap, record.api_version) == (2, 5_000_000, "2023-01-01")
    assert (record.betas, record.context) == (("a", "b"), {"request_id": "req_1"})
    assert record_of(options=BatchOptions(spend_cap=0)).spend_cap == 0, "a cap of nothing is a cap"


def test_metadata_is_never_forgotten_before_the_results() -> None:
    fields = to_fields("t", BatchOptions(), Lifetimes(retention=50 * DAY, keep=DAY), CREATED, {})
    assert fields["forget"] == CREATED + 50 * DAY


RESULT_TYPES = {"canceled": "canceled", "expired": "expired", "capped": "errored"}


@pytest.mark.parametrize(("rest", "kind"), RESULT_TYPES.items())
def test_an_item_without_a_result_gets_the_line_of_why(rest: str, kind: str) -> None:
    record = replace(record_of(**ENDED, rest=rest), context={"request_id": "req_7"})
    line = MessageBatchIndividualResponse.model_validate(orjson.loads(unrecorded_line(record, "item-3")))
    assert (line.custom_id, line.result.type) == ("item-3", kind)
    if line.result.type == "errored":
        assert (line.result.error.error.type, line.result.error.request_id) == ("billing_error", "req_7")


def test_an_item_that_workers_died_of_gets_an_error() -> None:
    line = MessageBatchIndividualResponse.model_validate(orjson.loads(worker_lost_line(record_of(**ENDED), "poison")))
    assert line.custom_id == "poison"
    assert line.result.type == "errored"
    assert line.result.error.error.type == "api_error"
    assert "3 workers" in line.result.error.error.message


@given(created=st.integers(0, 2**48 - 1), chance=st.binary(min_size=9, max_size=9))
@settings(max_examples=50)
def test_an_id_contains_the_creation_time(created: int, chance: bytes) -> None:
    batch_id = to_batch_id(created, chance)
    assert created_of(batch_id) == created
    assert batch_id.startswith("msgbatch_")
    assert len(batch_id) == 33


FOREIGN_IDS = {
    "nothing": "",
    "another kind": "msg_" + "a" * 24,
    "too short": "msgbatch_" + "a" * 23,
    "braces, which are a slot in a key": "msgbatch_" + "a" * 22 + "{}",
    "a line end after it": "msgbatch_" + "a" * 24 + "\n",
    "upper case": "msgbatch_" + "A" * 24,
}


@pytest.mark.parametrize("text", FOREIGN_IDS.values(), ids=FOREIGN_IDS)
def test_what_is_no_id_of_ours_is_none(text: str) -> None:
    assert created_of(text) is None
