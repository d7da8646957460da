"""The share of prompts that upstreams read from their caches: sessions over several upstreams, and all at one."""

from dataclasses import dataclass, field

import orjson
import pytest

from gateway.context import Context
from gateway.errors import UpstreamUnreachable
from gateway.messages.prompt import to_prompt
from gateway.telemetry.usage import UsageRecord
from gateway.upstream.http.client import Call
from gateway.upstream.routes.pins import CACHE_SECONDS
from gateway.upstream.routes.route import Candidate, RouteRule, Upstream
from gateway.upstream.routes.table import RoutingTable
from gateway.upstream.vendors.registry import COMPATIBLE
from tests.support.exchanges import ScriptedAnswer, chat_exchange

SESSIONS = 6
TURNS = 40
TURN_SECONDS = 30.0
OUTAGE = range(15, 20)  # turns during which upstream a refuses connections


@dataclass(slots=True)
class CachingUpstreams:
    """Upstreams that keep the prompts of the last minutes, as lists of messages, and read the longest one again."""

    fails: bool = False
    now: float = 0.0
    read: int = 0
    cached: int = 0
    _seen: dict[str, dict[bytes, float]] = field(default_factory=dict)

    async def open(self, call: Call) -> ScriptedAnswer:
        host = call.url.split("/")[2]
        if self.fails and host == "a":
            raise UpstreamUnreachable("refused")
        seen, messages = self._seen.setdefault(host, {}), orjson.loads(call.body)["messages"]
        prefixes = [orjson.dumps(messages[: length + 1]) for length in range(len(messages))]
        warm = [len(one) for one in prefixes if self.now - seen.get(one, -CACHE_SECONDS) < CACHE_SECONDS]
        cached, prompt = max(warm, default=0), len(prefixes[-1])
        seen |= dict.fromkeys(prefixes, self.now)
        self.read += prompt
        self.cached += cached
        usage = {"prompt_tokens": prompt, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": cached}}
        choice = {"index": 0, "delta": {"content": "so"}, "finish_reason": "stop"}
        return ScriptedAnswer(200, b"data: " + orjson.dumps({"choices": [choice], "usage": usage}) + b"\n\n")

    async def close(self) -> None: ...


async def cached_share(*upstreams: str, named: bool, outage: bool = False) -> float:
    """Return the cached part of all prompts of long sessions. `named`: clients name their sessions."""
    client = CachingUpstreams()
    rule = RouteRule("*", tuple(Candidate(name, share=1) for name in upstreams))
    table = RoutingTable(tuple(Upstream(name, f"http://{name}/v1", vendor=COMPATIBLE) for name in upstreams), (rule,))
    exchange = chat_exchange(client, table)
    exchange.circuits.clock = exchange.candidates.pins.clock = lambda: client.now
    histories: list[list[dict[str, str]]] = [[] for _ in range(SESSIONS)]
    for turn in range(TURNS):
        client.fails = outage and turn in OUTAGE
        for number, history in enumerate(histories):
            client.now += TURN_SECONDS / SESSIONS
            history.append({"role": "user", "content": f"{number} {turn} " + "word " * 40})
            context = Context("req_1", session_id=f"session-{number}" if named else None)
            body = {"model": "m", "max_tokens": 10, "messages": history}
            plan = exchange.plan(context, to_prompt(body, 100, context), UsageRecord(context))
            await exchange.answer(plan)
            assert plan.record.cache_read_tokens <= client.cached
            history.append({"role": "assistant", "content": "so"})
    return client.cached / client.read


@pytest.mark.parametrize("named", [True, False], ids=["named sessions", "conversations"])
@pytest.mark.covers("Routing · sessions that stay where their prompt is cached")
async def test_sessions_over_three_upstreams_read_as_much_from_caches_as_at_one(named: bool) -> None:
    one = await cached_share("a", named=named)
    assert one > 0.9
    assert await cached_share("a", "b", "c", named=named) >= 0.95 * one


async def test_sessions_that_an_outage_moves_pay_for_their_prompt_once_and_not_for_the_way_back() -> None:
    one = await cached_share("a", named=True)
    moved = await cached_share("a", "b", "c", named=True, outage=True)
    assert one > moved >= 0.97 * one
