"""Many followers of one call: each at its own pace, none at another's cost."""

import asyncio
from typing import Any

import orjson
import pytest

from gateway.access.keyring import Keyring
from gateway.cache.entry import CacheEntry
from gateway.dialects.reply import Reply
from gateway.errors import Overloaded, UpstreamError
from gateway.exchange.flight import Flight, Follower, Landed
from gateway.exchange.recording import RecordingSink
from gateway.exchange.sink import Flow
from gateway.messages import events
from gateway.messages.fold import fold_events
from gateway.sse import EventParser
from tests.cache.conftest import to_entry, to_message

KEYRING = Keyring.parse("a:one")
START = events.message_start({**to_message(), "content": []})
DELTA = events.block_start(0, {"type": "text", "text": "", "citations": None}) + events.delta(0, events.TEXT, "hello")
END = (
    events.block_stop(0)
    + events.message_delta({"stop_reason": "end_turn", "stop_sequence": None}, to_message()["usage"])
    + events.MESSAGE_STOP
)


class Client:
    """A sink with a flow that a test controls."""

    def __init__(self) -> None:
        self.data = b""
        self.flow: Flow | None = None
        self.aborted = False

    @property
    def committed(self) -> bool:
        return bool(self.data)

    def write(self, data: bytes) -> None:
        self.data += data

    def attach(self, source: Flow | None) -> None:
        self.flow = source

    def abort(self) -> None:
        self.aborted = True

    @property
    def told(self) -> dict[str, Any]:
        return fold_events(map(orjson.loads, EventParser().feed(self.data)))


class Source:
    """The upstream's side."""

    def __init__(self) -> None:
        self.paused = False

    def pause(self) -> None:
        assert not self.paused
        self.paused = True

    def resume(self) -> None:
        assert self.paused
        self.paused = False


async def no_call() -> tuple[Landed, bool]:
    raise AssertionError


def to_reply(number: int) -> Reply:
    return Reply(f"msg_{number}", f"req_{number}", f"model {number}", "slug", KEYRING)


def joined(flight: Flight, number: int, client: Client | None = None) -> tuple[Follower, Client]:
    client = client or Client()
    follower = flight.join(to_reply(number), no_call, streams=True)
    follower.attach(client)
    return follower, client


@pytest.fixture
async def flight() -> Flight:
    return Flight()


@pytest.mark.parametrize("come", ["before", "after the start", "in the middle", "at the end", "before its sink"])
def test_whoever_comes_gets_all_of_it_under_its_own_name(flight: Flight, come: str) -> None:
    first, one = joined(flight, 1)
    flight.choose_speaker()
    early = {"before": 0, "after the start": 1, "in the middle": 2, "at the end": 3, "before its sink": 0}[come]
    follower, client = None, Client()
    for number, piece in enumerate((START, DELTA, END, b"")):
        if number == early:
            follower = flight.join(to_reply(2), no_call, streams=True)
            if come != "before its sink":
                follower.attach(client)
        if piece:
            flight.recording.write(piece)
    assert follower is not None
    if come == "before its sink":
        follower.attach(client)
    for one_follower in (first, follower):
        assert one_follower.finish(None)
    assert (client.told["id"], client.told["model"]) == ("msg_2", "model 2")
    assert client.told["content"] == one.told["content"] == to_message()["content"]
    assert one.data == START + DELTA + END, "whose request it was gets the bytes as they are"


def test_a_slow_client_is_not_waited_for_and_loses_nothing(flight: Flight) -> None:
    source = Source()
    flight.recording.attach(source)
    slow, slow_client = joined(flight, 1)
    _, quick_client = joined(flight, 2)
    flight.choose_speaker()
    flight.recording.write(START)
    slow.pause()
    flight.recording.write(DELTA)
    assert not source.paused
    assert b"hello" in quick_client.data
    assert slow_client.data == START
    slow.resume()
    flight.recording.write(END)
    assert slow_client.told["content"] == quick_client.told["content"]


def test_the_upstream_is_slowed_down_when_no_follower_keeps_up(flight: Flight) -> None:
    source = Source()
    flight.recording.attach(source)
    followers = [joined(flight, number)[0] for number in range(3)]
    states = []
    for act in (followers[0].pause, followers[1].pause, followers[2].pause, followers[1].resume):
        act()
        states.append(source.paused)
    assert states == [False, False, True, False]
    flight.leave(followers[1])
    assert source.paused, "the others do not keep up"
    flight.leave(followers[0])
    flight.leave(followers[2])
    assert not source.paused


def test_an_answer_too_long_to_be_held_goes_at_the_pace_of_the_slowest(flight: Flight) -> None:
    source = Source()
    flight.recording = RecordingSink(flight, limit=len(START) + 1)
    flight.recording.attach(source)
    slow, _ = joined(flight, 1)
    joined(flight, 2)
    slow.pause()
    flight.recording.write(START)
    assert not source.paused
    flight.recording.write(DELTA)
    flight.recording.write(DELTA)
    assert (flight.is_open, source.paused) == (False, True)
    slow.resume()
    assert not source.paused


def test_what_a_slow_client_has_not_read_is_written_at_the_end(flight: Flight) -> None:
    follower, client = joined(flight, 1)
    flight.choose_speaker()
    follower.pause()
    for piece in (START, DELTA, END):
        flight.recording.write(piece)
    assert client.data == b""
    assert follower.finish(None)
    assert client.told["content"] == to_message()["content"]


def test_a_whole_answer_becomes_a_stream_once(flight: Flight) -> None:
    _, fresh = follower_with(flight, 1, to_entry())
    assert fresh.told["id"] == "msg_1"
    waited, client = joined(flight, 2)
    waited.beat()
    waited.beat()
    assert client.data.count(b"event: ping") == 2
    assert waited.finish(to_entry())
    assert client.told["id"] == "msg_2"
    assert client.data.count(b"message_start\n") == 1


def follower_with(flight: Flight, number: int, landed: Landed) -> tuple[Follower, Client]:
    follower, client = joined(flight, number)
    assert follower.finish(landed)
    return follower, client


def test_a_stream_after_signs_of_life_has_one_start(flight: Flight) -> None:
    follower, client = joined(flight, 1)
    follower.beat()
    flight.choose_speaker()
    for piece in (START, DELTA, END):
        flight.recording.write(piece)
    follower.finish(None)
    assert client.told["id"] == "msg_1"


def test_a_failure_is_raised_before_the_first_event_and_an_error_event_after_it(flight: Flight) -> None:
    follower, client = joined(flight, 1)
    with pytest.raises(Overloaded):
        follower.finish(Overloaded("full"))
    follower.beat()
    assert follower.finish(Overloaded("full"))
    assert client.data.endswith(events.error_event(Overloaded("full"), "req_1"))


def test_an_error_event_names_each_reply_s_own_request(flight: Flight) -> None:
    clients = [joined(flight, number)[1] for number in (1, 2)]
    flight.choose_speaker()
    flight.recording.write(START)
    flight.recording.write(events.error_event(UpstreamError("broke"), "req_1"))
    assert [client.data.count(f'"req_{number}"'.encode()) for number, client in enumerate(clients, 1)] == [1, 1]


def test_aborting_closes_every_client(flight: Flight) -> None:
    clients = [joined(flight, number)[1] for number in (1, 2)]
    flight.recording.abort()
    assert all(client.aborted for client in clients)


async def test_followers_that_want_json_wait_for_the_whole_answer(flight: Flight) -> None:
    whole = flight.join(to_reply(1), no_call, streams=False)
    task = asyncio.create_task(flight.follow(whole, 60.0))
    stream, _ = joined(flight, 2)
    flight.choose_speaker()
    flight.end_stream()
    assert await flight.follow(stream, 60.0) is None
    assert not task.done()
    flight.land(to_entry())
    assert isinstance(await task, CacheEntry)


def test_a_flight_can_be_abandoned_only_before_its_end(flight: Flight) -> None:
    follower, _ = joined(flight, 1)
    assert not flight.is_deserted
    flight.leave(follower)
    assert flight.is_deserted
    flight.end_stream()
    assert not flight.is_deserted


@pytest.mark.parametrize("outcome", [Overloaded("the key's limit"), to_entry()], ids=["refusal", "shortened answer"])
async def test_what_the_speakers_key_is_limited_to_reaches_no_other_follower(flight: Flight, outcome: Landed) -> None:
    speaker, second = (flight.join(to_reply(number), no_call, streams=False) for number in (1, 2))
    streaming, client = joined(flight, 3)
    flight.choose_speaker()
    others = [asyncio.create_task(flight.follow(one, 60)) for one in (second, streaming)]
    await asyncio.sleep(0)
    flight.isolate()
    assert await asyncio.gather(*others) == [None, None]
    assert not flight.is_open
    flight.recording.write(START)
    flight.land(outcome)
    assert client.data == b""
    own = flight.follow(speaker, 60)
    if isinstance(outcome, Overloaded):
        with pytest.raises(Overloaded):
            await own
    else:
        assert await own is outcome
