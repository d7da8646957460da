"""Memory of adaptations to an upstream model: by server and model, for a day, bounded."""

from dataclasses import replace

from gateway.upstream.routes.route import Route, Upstream
from gateway.upstream.routes.table import one_upstream_table
from gateway.upstream.vendors.adaptation import Adaptation
from gateway.upstream.vendors.learned import LIFETIME_SECONDS, MAX_ADAPTATIONS, MAX_MODELS, LearnedAdaptations
from gateway.upstream.vendors.registry import COMPATIBLE
from tests.support.clock import Clock

TABLE = one_upstream_table(Upstream("local", "http://127.0.0.1:9/v1", vendor=COMPATIBLE))
SYSTEM = Adaptation("system_as_user")
LOOSE = Adaptation("not_strict")
ONCE = Adaptation("drop_reasoning", lasting=False)


def route(model: str = "m") -> Route:
    return TABLE.resolve(model)[0]


def test_an_adaptation_is_known_for_its_server_and_model_only() -> None:
    learned = LearnedAdaptations(Clock())
    learned.learn(route(), [SYSTEM])
    assert learned.known(route()) == (SYSTEM,)
    assert learned.known(route("other")) == ()
    elsewhere = replace(route(), upstream=replace(TABLE.upstreams[0], url="http://127.0.0.1:10/v1"))
    assert learned.known(elsewhere) == ()


def test_adaptation_of_one_request_is_not_remembered() -> None:
    learned = LearnedAdaptations(Clock())
    learned.learn(route(), [ONCE])
    assert learned.known(route()) == ()


def test_an_adaptation_is_forgotten_a_day_after_it_was_learned_however_often_it_is_used() -> None:
    clock = Clock()
    learned = LearnedAdaptations(clock)
    learned.learn(route(), [SYSTEM])
    clock.now += LIFETIME_SECONDS - 1
    learned.learn(route(), [SYSTEM, LOOSE])
    assert learned.known(route()) == (SYSTEM, LOOSE)
    clock.now += 1
    assert learned.known(route()) == (LOOSE,)


def test_models_and_adaptations_are_bounded_and_the_oldest_go_first() -> None:
    learned = LearnedAdaptations(Clock())
    for number in range(MAX_MODELS + 1):
        learned.learn(route(f"m{number}"), [SYSTEM])
    assert learned.known(route("m0")) == ()
    assert learned.known(route(f"m{MAX_MODELS}")) == (SYSTEM,)
    many = [Adaptation("not_strict", (str(number),)) for number in range(MAX_ADAPTATIONS + 1)]
    learned.learn(route(), many)
    assert learned.known(route()) == tuple(many[1:])


def test_adaptation_of_another_process_expires_at_the_same_time() -> None:
    clock = Clock()
    one, other = LearnedAdaptations(clock), LearnedAdaptations(clock)
    one.learn(route(), [SYSTEM, ONCE])
    new = one.take_new()
    assert [learned.adaptation for learned in new] == [SYSTEM]
    assert one.take_new() == []
    clock.now += LIFETIME_SECONDS - 1
    other.merge(new)
    assert other.known(route()) == (SYSTEM,)
    assert other.take_new() == [], "what comes from others is not sent to them again"
    clock.now += 1
    assert other.known(route()) == ()


def test_a_clock_that_is_ahead_prolongs_nothing() -> None:
    ahead, learned = Clock(), LearnedAdaptations(Clock())
    ahead.now += 7200
    other = LearnedAdaptations(ahead)
    other.learn(route(), [SYSTEM])
    learned.merge(other.take_new())
    assert learned.known(route()) == ()


def test_adaptations_that_could_not_be_shared_are_new_again() -> None:
    learned = LearnedAdaptations(Clock())
    learned.learn(route(), [SYSTEM])
    new = learned.take_new()
    learned.put_back(new)
    assert learned.take_new() == new
