"""Shares learned adaptations between processes, through one hash in Redis.

A background step writes what is new and reads everything, so that no request waits for Redis. Each adaptation is a
separate field: writing one twice is harmless, and two writers cannot lose each other's.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import orjson
from redis.asyncio import Redis

from gateway.errors import GatewayError
from gateway.redis.failures import redis_failures, replies_of
from gateway.redis.keys import Keys
from gateway.upstream.vendors.adaptation import to_adaptation_value
from gateway.upstream.vendors.learned import LIFETIME_SECONDS, Learned, LearnedAdaptations

# Until then another process finds out by itself, at the price of one more call.
SHARE_SECONDS: Final = 5.0
# Fields of the hash. Beyond this many, the next process that shares drops the oldest.
MAX_SHARED: Final = 1024


@dataclass(slots=True)
class LearnedStore:
    """`clock` is wall time in seconds."""

    redis: Redis
    learned: LearnedAdaptations
    keys: Keys = field(default_factory=Keys)
    clock: Callable[[], float] = time.time

    async def share(self) -> None:
        """Raises Unavailable when Redis cannot answer; what was new is written the next time."""
        new = self.learned.take_new()
        try:
            with redis_failures():
                pipeline = self.redis.pipeline(transaction=False)
                if new:
                    pipeline.hset(self.keys.learned, mapping={_to_field(one): one.until for one in new})
                    pipeline.expire(self.keys.learned, int(LIFETIME_SECONDS))
                pipeline.hgetall(self.keys.learned)
                fields = (await replies_of(pipeline))[-1]
                stored = {name: float(until) for name, until in fields.items()}
                # Expired fields are removed, and the oldest above the limit.
                now = self.clock()
                kept = sorted((name for name, until in stored.items() if until > now), key=lambda name: stored[name])
                gone = stored.keys() - set(kept[-MAX_SHARED:])
                if gone:
                    await self.redis.hdel(self.keys.learned, *gone)
        except GatewayError:
            self.learned.put_back(new)
            raise
        self.learned.merge(one for name, until in stored.items() if (one := _from_field(name, until)) is not None)


def _to_field(learned: Learned) -> bytes:
    return orjson.dumps([learned.server, learned.model, learned.adaptation.to_plain()])


def _from_field(name: bytes, until: float) -> Learned | None:
    """Read a field; None for one of another version of the gateway that this one does not know."""
    match orjson.loads(name):
        case [str(server), str(model), adaptation] if (value := to_adaptation_value(adaptation)) is not None:
            return Learned(server, model, value, until)
        case _:
            return None
