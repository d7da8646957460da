"""One request of a thread, from its claim to the end of its reply.

A turn without a complete reply (refused, failed, client disconnected) leaves the thread unchanged, so it can be
continued again. A store failure never loses a reply: if a thread cannot be stored, its request is refused with the code
on which clients continue without one; if a finished reply could not be added, it is sent anyway, and a client that
continues from it gets "no such thread" and replays the conversation, which every client has.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson
import structlog
from redis.exceptions import RedisError

from gateway.context import Context
from gateway.errors import GatewayError, InvalidRequest, Overloaded, Unavailable
from gateway.exchange.recording import RecordingSink
from gateway.exchange.sink import Sink
from gateway.process.tasks import Repeated, describe
from gateway.telemetry.metrics import THREAD_TURNS
from gateway.threads.sink import HeldBackEnd
from gateway.threads.store import Addition, ThreadClaim, ThreadStore
from gateway.threads.thread import (
    Held,
    merged,
    name_own_positions,
    to_fields,
    to_thread_param,
    to_turn,
    too_long,
    unsupported,
)

log = structlog.get_logger()

# Three renewals fit into a claim.
RENEWAL_SECONDS: Final = 10.0

Outcome = Literal["kept", "not_kept", "failed"]


@dataclass(slots=True)
class Turn:
    """`request` is the whole conversation, as a client without threads would have sent it; `held_bytes` of its JSON
    came from the store, not from `body`."""

    request: dict[str, Any] = field(repr=False)
    held_bytes: int
    body: dict[str, Any] = field(repr=False)
    context: Context
    claim: ThreadClaim
    threads: "Threads"
    outcome: Outcome = "failed"

    async def keep(self, message: dict[str, Any] | None) -> None:
        """Add this request and its reply to the thread: its next turn continues from the reply. Never raises for the
        store. None means an incomplete reply."""
        if message is not None:
            self.outcome = await self.threads.keep(self, message)

    async def stream(self, sink: Sink, into: Callable[[Sink], Awaitable[None]]) -> None:
        """Stream the reply with `into`; store it before its end is sent: clients may continue at once, elsewhere."""
        end = HeldBackEnd(sink)
        recording = RecordingSink(end)
        await into(recording)
        await self.keep(recording.message())
        end.release()


@dataclass(slots=True)
class Threads:
    """The threads of a front end. `run` it as a task while turns may be open."""

    store: ThreadStore
    _claims: set[ThreadClaim] = field(default_factory=set)

    @asynccontextmanager
    async def turn(self, context: Context, body: dict[str, Any], size: int) -> AsyncIterator[Turn]:
        """Open the turn that this body requests. `size`: its bytes. Raises the errors for clients of threads."""
        with _refusals_counted():
            claim, held = await self._claim(context.tenant, body)
        self._claims.add(claim)
        turn = None
        try:
            with _refusals_counted():
                request, held_bytes = self._to_request(body, size, held)
            turn = Turn(request, held_bytes, body, context, claim, self)
            yield turn
        except InvalidRequest as error:
            name_own_positions(error, held)
            raise
        finally:
            self._claims.discard(claim)
            if turn is None or turn.outcome == "failed":
                # If the store fails, the claim expires: it is not renewed after this.
                with suppress(Unavailable, Overloaded):
                    await self.store.release(claim)
            if turn is not None:
                THREAD_TURNS.labels(turn.outcome).inc()

    async def keep(self, turn: Turn, message: dict[str, Any]) -> Outcome:
        fields = b"" if turn.claim.message_id else orjson.dumps(to_fields(turn.body))
        messages = orjson.dumps(to_turn(turn.body, message))
        size = turn.held_bytes + len(fields) + len(messages)
        addition = Addition(message["id"], message["stop_reason"] or "", messages, size, fields)
        try:
            if await self.store.add(turn.claim, addition):
                return "kept"
            reason: dict[str, object] = {"error": "claim_lost"}
        except (Unavailable, Overloaded, RedisError) as error:
            reason = describe(error)
        log.warning("thread_not_kept", request_id=turn.context.request_id, **reason)
        return "not_kept"

    async def run(self) -> None:
        """Renew the claims of open turns."""
        await Repeated("thread claims", self.renew, every=RENEWAL_SECONDS).run()

    async def renew(self) -> None:
        for claim in tuple(self._claims):
            await self.store.renew(claim)

    async def _claim(self, tenant: str, body: dict[str, Any]) -> tuple[ThreadClaim, Held | None]:
        param = to_thread_param(body)
        try:
            if param["type"] == "create":
                return await self.store.create(tenant), None
            return await self.store.claim(tenant, param["previous_message_id"])
        except Overloaded as error:
            raise unsupported("the gateway has no room to hold a conversation now") from error
        except Unavailable as error:
            log.warning("thread_store_away", **describe(error))
            raise unsupported(
                "message threads are not available now, as the gateway's store does not answer"
            ) from error

    def _to_request(self, body: dict[str, Any], size: int, held: Held | None) -> tuple[dict[str, Any], int]:
        """Return the whole request, and how many bytes of it were stored."""
        if held is None:
            return {name: value for name, value in body.items() if name != "thread"}, 0
        if held.size + size > self.store.policy.max_bytes:
            raise too_long()
        return merged(body, held), held.size


@contextmanager
def _refusals_counted() -> Iterator[None]:
    """Count refusals by the API's error codes, of which threads have five; other errors count as invalid."""
    try:
        yield
    except GatewayError as error:
        THREAD_TURNS.labels((error.code or "invalid").removeprefix("thread_")).inc()
        raise
