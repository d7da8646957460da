"""Calls of the Message Batches API for the batch commands, and the text of batches on a terminal."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from gateway.cli.api import Api, ApiError
from gateway.cli.batch.requests_file import RequestsFile

PATH: Final = "/v1/messages/batches"
# Results may be gigabytes; a piece is written before the next is read.
RESULT_PIECE: Final = 256 * 1024


async def create(
    api: Api,
    requests: RequestsFile,
    part: Sequence[int],
    idempotency_key: str,
    sent: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Create a batch; repeating the key returns the same batch. `sent` receives the number of bytes sent."""
    headers = {
        "content-type": "application/json",
        "content-length": str(requests.body_bytes(part)),
        "idempotency-key": idempotency_key,
    }
    body = _counted(requests.body(part), sent)
    try:
        created, _ = await api.call("POST", PATH, data=body, headers=headers)
    except ApiError as error:
        raise _at_its_line(error, requests, part) from None
    assert isinstance(created, dict)
    return created


async def retrieve(api: Api, batch_id: str) -> dict[str, Any]:
    batch, _ = await api.call("GET", f"{PATH}/{batch_id}")
    assert isinstance(batch, dict)
    return batch


async def progress_of(api: Api, batch_id: str) -> tuple[dict[str, Any], int, float | None]:
    """Return the batch, its number of results, and its cost so far in dollars.

    Only Dragoman reports results before the end, and costs.
    """
    path = f"/v1/messages/batch/{batch_id}/status" if api.is_dragoman else f"{PATH}/{batch_id}"
    batch, headers = await api.call("GET", path)
    counts = batch["request_counts"]
    finished = sum(counts.values()) - counts["processing"]
    cost = headers.get("x-gateway-cost")
    return batch, int(headers.get("x-gateway-batch-done", finished)), None if cost is None else float(cost)


async def result_pieces(api: Api, batch_id: str) -> AsyncIterator[bytes]:
    """Yield the lines of the results, in pieces that may end anywhere."""
    async with api.opened("GET", f"{PATH}/{batch_id}/results") as response:
        async for piece in response.content.iter_chunked(RESULT_PIECE):
            yield piece


def counts_text(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "no requests"


def to_line(batch: dict[str, Any], done: int = 0) -> str:
    live = f" ({done:,} done)" if batch["processing_status"] != "ended" and done else ""
    return f"{batch['id']}: {batch['processing_status']}, {counts_text(batch['request_counts'])}{live}"


def times_text(batch: dict[str, Any]) -> list[str]:
    """Return when the batch was created and how long it took, as part of a line."""
    try:
        created = datetime.fromisoformat(batch["created_at"])
    except (KeyError, TypeError, ValueError):
        return []
    words = [f"started {created.astimezone():%Y-%m-%d %H:%M:%S}"]
    if batch.get("ended_at"):
        words.append(f"took {duration_text((datetime.fromisoformat(batch['ended_at']) - created).total_seconds())}")
    return words


def duration_text(seconds: float) -> str:
    """Format seconds for people: 0.8 s, 42 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def dollars_text(dollars: float) -> str:
    """Format dollars with up to six decimals: $0.000042, $1.25."""
    whole, _, rest = f"{dollars:,.6f}".rstrip("0").partition(".")
    return f"${whole}.{rest:0<2}"


async def _counted(pieces: Iterator[bytes], sent: Callable[[int], None] | None) -> AsyncIterator[bytes]:
    done = 0
    for piece in pieces:
        yield piece
        done += len(piece)
        if sent is not None:
            sent(done)


def _at_its_line(error: ApiError, requests: RequestsFile, part: Sequence[int]) -> ApiError:
    """Return the error with the line in the user's file instead of the position in the batch."""
    name, _, rest = error.message.partition(".")
    place = rest.partition(".")[0].partition(":")[0]
    if name != "requests" or not place.isdigit() or int(place) >= len(part):
        return error
    line = requests.lines[part[int(place)]]
    return ApiError(f"{requests.path}:{line}: {error.message}", "correct this line and run it again", code=error.code)
