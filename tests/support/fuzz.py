"""Broken bodies, streams and answers, as many as there is time for: the conversion converts or refuses, never fails.
And broken HTTP: a front end answers or refuses, and serves the next client.

Each case is a function of the seed and its own number, so that `--seed S --start N --count 1` repeats one alone.

    python -m tests.support.fuzz [--count N] [--seed S] [--start N] [--only KIND] [--processes N]
"""

import argparse
import itertools
import os
import resource
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from random import Random
from typing import Any

import orjson

from gateway.dialects.chat.request.convert import to_chat_request, to_streamed
from gateway.dialects.chat.request.encode import SMALL_BODY, to_json
from gateway.dialects.chat.response.convert import to_message
from gateway.dialects.chat.response.stream import MessageStream
from gateway.dialects.chat.response.usage import requested_ttl
from gateway.errors import GatewayError, InvalidRequest, UpstreamError
from gateway.messages.envelope import seal
from gateway.messages.fold import fold_events
from gateway.messages.tokens.profiles import to_profile
from gateway.messages.tokens.prompt import prompt_estimate
from gateway.messages.validation import check_count_tokens_request, check_messages_request
from gateway.messages.validation.depth import check_depth
from tests.messages.validation.test_validation_fuzz import RICH
from tests.support import conversions as ways
from tests.support.damage import Mutator, damaged, pieces_of
from tests.support.fuzz_answers import fuzz_faces, fuzz_models, fuzz_passed_on
from tests.support.fuzz_dialects import fuzz_dialects
from tests.support.fuzz_facts import fuzz_facts
from tests.support.fuzz_framing import fuzz_framing, fuzz_headers
from tests.support.fuzz_growth import fuzz_runs
from tests.support.fuzz_history import fuzz_history
from tests.support.fuzz_turns import fuzz_turns
from tests.support.fuzz_vendors import fuzz_refusals, odd_stream
from tests.support.golden_cases import CASES
from tests.support.streams import call, call_part, check_grammar, completion, finish, read_events, reply, told

VERSIONS = ("2023-06-01", "2023-06-01", "2023-06-01", "2026-10-21")
TARGETS = (ways.CLAUDE, ways.GEMINI, ways.GPT, ways.DEEPSEEK, ways.STRICT, ways.OPENAI, ways.OPENAI_PLAIN)

# Of each kind: up to eleven minutes on one core (the dialects). A full run is `--count 1000000`.
DEFAULT_COUNT = 100_000
# Time of a case of these kinds, in usual cases; proportionally fewer of them are run.
SLOWNESS = {
    "history": 5,
    "faces": 5,
    "facts": 5,
    "passed on": 5,
    "models": 5,
    "turns": 8,
    "runs": 300,
    "headers": 20,
    "framing": 20,
}

# Of processor time for one case of the other kinds.
MAX_STALL_SECONDS = 0.1

# Fewer cases end before other processes have started.
MIN_SHARED = 1000
# What a process may grow by, once a tenth of the cases has warmed it up.
MAX_GROWTH_BYTES = 64 * 1024 * 1024

SEALED = seal([{"type": "reasoning.encrypted", "data": "d", "id": "r"}], "google/gemini-3-pro", ways.KEYRING)

CONVERSATION: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 4000,
    "system": "Be brief.",
    "thinking": {"type": "adaptive", "display": "omitted"},
    "context_management": {
        "edits": [
            {"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 1}},
            {
                "type": "clear_tool_uses_20250919",
                "trigger": {"type": "input_tokens", "value": 1},
                "exclude_tools": ["b"],
            },
        ]
    },
    "tools": [
        {"name": "look" * 20, "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
        {"type": "browser_toolset_20260801"},
        {"type": "computer_20251124", "name": "computer", "display_width_px": 9, "display_height_px": 9},
    ],
    "fallbacks": [{"model": "claude-haiku-4-5"}],
    "stop_sequences": ["a", "b", "c", "d", "e"],
    "metadata": {"user_id": '{"session_id":"s"}', "team": "red"},
    "openai": {"tool_choice": "auto", "stream_options": {"include_obfuscation": False}},
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}]},
        {
            "role": "assistant",
            "content": [
                {"type": "redacted_thinking", "data": SEALED},
                {"type": "thinking", "thinking": "t", "signature": SEALED},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "x"}]},
                {"type": "tool_use", "id": "call_1", "name": "look" * 20, "input": {"a": [1, {"b": None}]}},
                {"type": "tool_use", "id": "call_2", "name": "b", "input": {}, "toolset_name": "browser"},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "is_error": True},
                {"type": "tool_result", "tool_use_id": "call_2", "content": [{"type": "text", "text": "r"}]},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
            ],
        },
        {"role": "system", "content": "Now in French.", "output_config": {"effort": "low"}},
        {"role": "assistant", "content": [{"type": "compaction", "content": "summary"}, {"type": "text", "text": "x"}]},
        {"role": "user", "content": "Go on."},
    ],
}
# What any upstream can carry.
PLAIN = {
    **{name: value for name, value in CONVERSATION.items() if name != "fallbacks"},
    "tools": [tool for tool in CONVERSATION["tools"] if tool.get("name") != "web_search"],
}
# Validation's own, less what no single upstream takes together.
CARRIED = {
    **RICH,
    "tools": [tool for tool in RICH["tools"] if "custom" not in tool],
    "openrouter": {name: value for name, value in RICH["openrouter"].items() if name != "reasoning"},
}
BODIES = (RICH, CARRIED, CONVERSATION, PLAIN)
STREAMS = [case.upstream for case in CASES]
ANSWERS = [case.json("completion.json") for case in CASES if case.has("completion.json")]

BODY_MUTATOR = Mutator(BODIES)
ANSWER_MUTATOR = Mutator(ANSWERS)


def fuzz_body(random: Random) -> str:
    return use_body(orjson.dumps(BODY_MUTATOR.mutate(random.choice(BODIES), random, random.randrange(1, 5))), random)


def fuzz_bytes(random: Random) -> str:
    return use_body(damaged(orjson.dumps(random.choice(BODIES)), random, random.randrange(1, 3)), random)


def use_body(raw: bytes, random: Random) -> str:
    """Send a body through the front door and to an upstream. Return the outcome."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return "no JSON"
    version, target = random.choice(VERSIONS), random.choice(TARGETS)
    count_tokens(body, version, target.model)
    try:
        request, _ = check_messages_request(body, version=version, betas=frozenset())
    except InvalidRequest:
        return "refused"
    try:
        before = orjson.dumps(request)
        conversion = to_chat_request(request, target, ways.KEYRING, random.choice((None, "session")))
        size = random.choice((0, SMALL_BODY + 1))
        assert orjson.loads(to_json(conversion.body, size)) == orjson.loads(orjson.dumps(conversion.body))
    except InvalidRequest:
        return "cannot be carried"
    except orjson.JSONEncodeError:
        return refuse_depth(request)
    assert orjson.dumps(request) == before, "a conversion changed its request"
    assert conversion.body["model"] == target.model
    assert conversion.body["messages"]
    assert orjson.dumps(to_streamed(conversion.body, target))
    assert requested_ttl(request) in ("5m", "1h")
    return "converted"


def refuse_depth(request: Any) -> str:
    try:
        check_depth(request)
    except InvalidRequest:
        return "nests too deeply"
    raise AssertionError("what could not be written is not too deep")


def count_tokens(body: Any, version: str, model: str) -> None:
    try:
        request, _ = check_count_tokens_request(body, version=version, betas=frozenset())
    except InvalidRequest:
        return
    assert prompt_estimate(request, to_profile(model)).tokens(1.0) >= 1


def fuzz_stream(random: Random) -> str:
    stream = random.choice(STREAMS)
    match random.randrange(3):
        case 0:
            stream = damaged(stream, random, random.randrange(1, 4))
        case 1:
            stream = with_changed_chunks(stream, random)
        case _:
            stream = stream[: random.randrange(len(stream) + 1)]
    return use_stream(pieces_of(stream, random), random)


def fuzz_vendors(random: Random) -> str:
    return use_stream(pieces_of(odd_stream(random), random), random)


def with_changed_chunks(stream: bytes, random: Random) -> bytes:
    """Some of its chunks damaged inside, said twice, left out, or in another's place."""
    frames = stream.split(b"\n\n")
    for _ in range(random.randrange(1, 4)):
        place = random.randrange(len(frames))
        match random.randrange(4):
            case 0:
                frames.insert(random.randrange(len(frames) + 1), frames[place])
            case 1 if len(frames) > 1:
                del frames[place]
            case _:
                frames[place] = with_changed_payload(frames[place], random)
    return b"\n\n".join(frames)


def with_changed_payload(frame: bytes, random: Random) -> bytes:
    try:
        payload = orjson.loads(frame.removeprefix(b"data:"))
    except orjson.JSONDecodeError:
        return frame
    return b"data: " + orjson.dumps(ANSWER_MUTATOR.mutate(payload, random, random.randrange(1, 4)))


def use_stream(pieces: Sequence[bytes], random: Random) -> str:
    """Check that a client gets a whole stream or the beginning of one, and that the gateway's state shows which."""
    stops = random.choice(((), (), ("a",), ("answer", "\n")))
    model = random.choice(("acme/writer", "anthropic/claude-sonnet-4.5", "google/gemini-3-pro"))
    stream = MessageStream(reply(stop_sequences=stops, upstream_model=model, show_thinking=random.random() < 0.8))
    output = b"".join([stream.feed(piece) for piece in pieces])
    output += stream.end() if random.random() < 0.8 else stream.fail(UpstreamError("The connection was lost."))
    assert stream.done == (stream.failure is None), "a stream has to end or to fail"
    events = read_events(output)
    check_grammar(events, complete=stream.done)
    if not stream.done:
        return "failed"
    fold_events(events)
    return "whole"


def fuzz_answer(random: Random) -> str:
    answer = ANSWER_MUTATOR.mutate(random.choice(ANSWERS), random, random.randrange(1, 4))
    try:
        answered = to_message(answer, reply(stop_sequences=random.choice(((), ("a",)))))
    except GatewayError:
        return "an error"
    assert orjson.dumps(answered.message)
    return "a message"


# What models forget, write twice, or write as another language does.
SLIPS = (
    "\n",
    "\t",
    "\\",
    "\\d",
    "\\u",
    "\\'",
    '"',
    "'",
    ",",
    ",}",
    "}",
    "]",
    "{",
    ":",
    " ",
    "True",
    "None",
    "NaN",
    "undefined",
    "\ufeff",
    "```",
    "</tool_call>",
    " // x\n",
    "\\ud83d",
    "é",
    "1",
)
SAMPLES = (
    r'{"path": "C:\\x", "content": "one\ntwo \"three\"", "n": 12}',
    '{"edits": [{"old": "a", "new": "b"}, {"old": "", "new": null}], "all": true}',
    "{'command': 'ls -l', 'flags': ['a', 'b'], 'quiet': False}",
)


def fuzz_arguments(random: Random) -> str:
    """A tool call's arguments with slips in them, streamed and whole: both make the same of it."""
    arguments = random.choice(SAMPLES)
    for _ in range(random.randrange(4)):
        place = random.randrange(len(arguments) + 1)
        arguments = arguments[:place] + random.choice((*SLIPS, "")) + arguments[place + random.randrange(3) :]
    arguments = arguments[: random.randrange(1, len(arguments) + 1)] if random.random() < 0.3 else arguments
    reason = random.choice(("tool_calls", "stop", "length"))
    cuts = sorted(random.randrange(len(arguments) + 1) for _ in range(random.randrange(8)))
    pieces = [arguments[start:end] for start, end in zip([0, *cuts], [*cuts, len(arguments)], strict=True)]
    result = told(call(0, "", "c", "f"), *[call(0, piece) for piece in pieces], finish(reason))
    answer = completion({"tool_calls": [call_part(0, arguments, "c", "f")]}, reason)
    streamed = fold_events(result.events) if result.failure is None else None
    try:
        whole = to_message(answer, reply()).message
    except UpstreamError:
        assert streamed is None or len(streamed["content"]) > 1, "what a stream repairs is refused whole"
        return "refused"
    assert streamed is not None
    assert streamed["content"] == whole["content"]
    (block,) = whole["content"]
    assert isinstance(block["input"], dict)
    assert whole["stop_reason"] == streamed["stop_reason"]
    assert whole["stop_reason"] in (("max_tokens",) if reason == "length" else ("max_tokens", "tool_use"))
    if whole["stop_reason"] == "max_tokens":
        return "cut"
    return "repaired" if result.stream.notes else "valid"


Fuzzer = Callable[[Random], str]
FUZZERS: dict[str, Fuzzer] = {
    "bodies": fuzz_body,
    "bytes": fuzz_bytes,
    "streams": fuzz_stream,
    "answers": fuzz_answer,
    "arguments": fuzz_arguments,
    "dialects": fuzz_dialects,
    "history": fuzz_history,
    "faces": fuzz_faces,
    "facts": fuzz_facts,
    "passed on": fuzz_passed_on,
    "models": fuzz_models,
    "turns": fuzz_turns,
    "vendors": fuzz_vendors,
    "refusals": fuzz_refusals,
    "runs": fuzz_runs,
    "headers": fuzz_headers,
    "framing": fuzz_framing,
}


def run(name: str, seed: int, numbers: range, fuzzers: Mapping[str, Fuzzer] = FUZZERS) -> Counter[str]:
    """Return how the cases ended. A case that fails raises, with its number in a note."""
    outcomes: Counter[str] = Counter()
    fuzzer = fuzzers[name]
    for number in numbers:
        begun = time.thread_time()
        try:
            outcomes[fuzzer(Random(seed << 32 | number))] += 1
            if name not in SLOWNESS and time.thread_time() - begun > MAX_STALL_SECONDS:
                check_stall(partial(fuzzer, Random(seed << 32 | number)))
        except Exception as failure:
            failure.add_note(f"python -m tests.support.fuzz --only {name} --seed {seed} --start {number} --count 1")
            raise
    return outcomes


def check_stall(case: Callable[[], object]) -> None:
    """Fail for a case that takes long again: a collection of garbage, or the import of a module, does not repeat."""
    begun = time.thread_time()
    case()
    seconds = time.thread_time() - begun
    assert seconds <= MAX_STALL_SECONDS, f"the event loop would stand still for {1000 * seconds:.0f} ms"


def run_part(name: str, seed: int, numbers: range) -> tuple[Counter[str], int]:
    """Return how the cases ended, and the bytes by which the process has grown since the first tenth."""
    warming = numbers[: len(numbers) // 10]
    outcomes = run(name, seed, warming)
    warm = peak_memory()
    outcomes += run(name, seed, numbers[len(warming) :])
    return outcomes, peak_memory() - warm


def run_shared(name: str, seed: int, numbers: range, processes: int) -> tuple[Counter[str], int]:
    """The same for cases that several processes share, with the largest growth."""
    if processes == 1 or len(numbers) < MIN_SHARED:
        return run_part(name, seed, numbers)
    edges = [len(numbers) * part // processes for part in range(processes + 1)]
    parts = [numbers[begin:end] for begin, end in itertools.pairwise(edges)]
    outcomes: Counter[str] = Counter()
    growth = 0
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for ended, grown in pool.map(partial(run_part, name, seed), parts):
            outcomes += ended
            growth = max(growth, grown)
    return outcomes, growth


def peak_memory() -> int:
    """Bytes; Linux counts in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=DEFAULT_COUNT, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--start", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", choices=FUZZERS)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many share the cases")
    options = parser.parse_args(arguments)
    sys.stdout.write(f"seed {options.seed}\n")
    for name in [options.only] if options.only else FUZZERS:
        begun = time.monotonic()
        count = max(1, options.count // SLOWNESS.get(name, 1))
        outcomes, growth = run_shared(
            name, options.seed, range(options.start, options.start + count), options.processes
        )
        told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        sys.stdout.write(f"{name}: {told}; {time.monotonic() - begun:.0f} s, memory grew by {growth >> 10} KiB\n")
        assert growth <= MAX_GROWTH_BYTES, "the conversion keeps what it should not"


if __name__ == "__main__":
    main()
