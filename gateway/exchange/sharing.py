"""The loops in which the processes on one Redis share what they learn: circuits, limits, moved sessions, refusals."""

from collections.abc import Iterator

from gateway.exchange.exchange import Exchange
from gateway.process.tasks import Repeated
from gateway.redis.server import RedisServer
from gateway.upstream.capacity.lanes import RENEW_SECONDS
from gateway.upstream.capacity.loads import SHARE_SECONDS as LOAD_SECONDS
from gateway.upstream.capacity.loads import Loads
from gateway.upstream.health.live_circuits import SHARE_SECONDS as CIRCUIT_SECONDS
from gateway.upstream.routes.pins import SHARE_SECONDS as PIN_SECONDS
from gateway.upstream.vendors.learned_store import SHARE_SECONDS, LearnedStore


def share_learned(exchange: Exchange, server: RedisServer) -> Repeated:
    """Return the loop that shares what requests to upstream models need."""
    return Repeated("learned", LearnedStore(server.redis, exchange.learned, server.keys).share, SHARE_SECONDS)


def share_calls(exchange: Exchange, server: RedisServer, loads: Loads | None = None) -> Iterator[Repeated]:
    """Yield the loops that share circuits, the calls that limits count, and sessions that have moved.

    `loads`: a worker's.
    """
    calls = loads or Loads(server, exchange.circuits, runs_batches=False)
    exchange.circuits.server = exchange.circuits.lanes.server = exchange.candidates.pins.server = server
    if exchange.admission is not None:
        exchange.circuits.lanes.silence = exchange.admission.directory.silence
    yield Repeated("live_circuits", exchange.circuits.share, CIRCUIT_SECONDS)
    yield Repeated("lanes_ended", exchange.circuits.lanes.send_ended)
    yield Repeated("pins", exchange.candidates.pins.share, PIN_SECONDS)
    yield Repeated("loads", lambda: calls.share(exchange.table.upstreams), LOAD_SECONDS)
    yield Repeated("lanes_renewed", exchange.circuits.lanes.renew, RENEW_SECONDS)
