"""The first cases of `make fuzz`, always the same ones; and that the fuzzer sees what it looks for."""

import time

import pytest

from gateway.errors import InvalidRequest
from tests.support import fuzz
from tests.support.damage import Mutator, damaged, pieces_of

SEED = 1
COUNT = 1500
# A case of the dialects takes eight times the time of others.
FEWER = {**fuzz.SLOWNESS, "dialects": 8}

# What each kind of case has to end in, for its fuzzing to have got anywhere.
OUTCOMES = {
    "bodies": {"refused", "cannot be carried", "converted"},
    "bytes": {"no JSON", "refused", "cannot be carried", "converted"},
    "streams": {"failed", "whole"},
    "answers": {"an error", "a message"},
    "arguments": {"refused", "repaired", "valid", "cut"},
    "dialects": {"same", "noted"},
    "history": {"accepted"},
    "faces": {"failed", "whole"},
    "facts": {"failed", "whole"},
    "passed on": {"failed", "whole"},
    "models": {"listed", "refused", "damaged"},
    "turns": {"known", "new"},
    "vendors": {"failed", "whole"},
    "refusals": {"handed on", "adapted"},
    "runs": {"measured", "refused"},
    "headers": {"answered", "refused"},
    # How many are not answered, or not sent, depends on the proxies installed and on timing.
    "framing": {"answered", "refused"},
}


@pytest.mark.parametrize("name", fuzz.FUZZERS)
def test_broken_input_is_converted_or_refused(name: str) -> None:
    count = COUNT // FEWER.get(name, 1) + 20
    outcomes = fuzz.run(name, SEED, range(count))
    assert outcomes.total() == count
    assert min(outcomes[needed] for needed in OUTCOMES[name]) > count // 50


def test_the_same_seed_gives_the_same_cases() -> None:
    assert fuzz.run("bodies", 5, range(100)) == fuzz.run("bodies", 5, range(100))


def test_a_case_that_fails_says_how_to_repeat_it() -> None:
    def fail_at_a_tenth(random: fuzz.Random) -> str:
        if random.random() < 0.1:
            raise TypeError("a bug")
        return "fine"

    failing = {"bodies": fail_at_a_tenth}
    with pytest.raises(TypeError) as raised:
        fuzz.run("bodies", 3, range(1000), failing)
    (note,) = raised.value.__notes__
    number = int(note.split()[-3])
    with pytest.raises(TypeError):
        fuzz.run("bodies", 3, range(number, number + 1), failing)
    assert fuzz.run("bodies", 3, range(number), failing)["fine"] == number


def test_a_case_that_would_hold_up_the_event_loop_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(_: fuzz.Random) -> str:
        begun = time.thread_time()
        while time.thread_time() - begun < 0.02:
            pass
        return "fine"

    monkeypatch.setattr(fuzz, "MAX_STALL_SECONDS", 0.01)
    with pytest.raises(AssertionError, match="stand still"):
        fuzz.run("bodies", 3, range(3), {"bodies": slow})


def test_a_mutation_leaves_its_source_alone() -> None:
    source = {"a": [1, {"b": "c"}]}
    mutator = Mutator([source])
    mutants = [mutator.mutate(source, fuzz.Random(number), 3) for number in range(200)]
    assert source == {"a": [1, {"b": "c"}]}
    assert sum(mutant != source for mutant in mutants) > 150


def test_pieces_join_to_the_stream_and_damage_changes_it() -> None:
    stream = b"data: {}\n\n" * 20
    for number in range(200):
        assert b"".join(pieces_of(stream, fuzz.Random(number))) == stream
    assert sum(damaged(stream, fuzz.Random(number), 2) != stream for number in range(200)) > 100


def test_the_bodies_to_break_are_whole() -> None:
    for body in fuzz.BODIES:
        fuzz.check_messages_request(body, version="2023-06-01", betas=frozenset())
    fuzz.to_chat_request(fuzz.CARRIED, fuzz.ways.GPT, fuzz.ways.KEYRING)
    for target in fuzz.TARGETS:
        fuzz.to_chat_request(fuzz.PLAIN, target, fuzz.ways.KEYRING)
    with pytest.raises(InvalidRequest):
        fuzz.to_chat_request(fuzz.CONVERSATION, fuzz.ways.STRICT, fuzz.ways.KEYRING)
