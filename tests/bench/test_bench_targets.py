"""Targets and cases: settings that the gateway reads, bodies that it accepts, the same bytes every time."""

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

from bench import __main__ as command
from bench.cases import BODIES, CASES, Body, conversation, growing_conversation, write_bodies
from bench.chat_bodies import to_chat
from bench.measure import memory_mib, open_files, process_tree
from bench.peers import MODELS, PEERS, peer_recipes
from bench.targets import gateway_recipe
from gateway.settings import unknown_variables


def test_the_gateway_is_given_only_settings_that_it_reads() -> None:
    assert unknown_variables(gateway_recipe().environment) == []


def test_bodies_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_bodies(tmp_path / name)
    for name in BODIES:
        assert (tmp_path / "first" / f"{name}.json").read_bytes() == (tmp_path / "second" / f"{name}.json").read_bytes()


@pytest.mark.parametrize("size", [1_000, 16_000, 64_000, 256_000, 1_000_000])
def test_a_conversation_is_about_as_large_as_asked(size: int) -> None:
    written = len(json.dumps(conversation(size), ensure_ascii=False, separators=(",", ":")).encode())
    assert written == pytest.approx(size, rel=0.05)


def test_every_case_sends_a_body_that_there_is_and_streams_if_it_says_so() -> None:
    for case in CASES.values():
        for body in growing_conversation() if case.turns else [BODIES[case.body]()]:
            assert body.get("stream", False) is case.streamed
        assert case.start is None or BODIES[case.start]()["stream"] is case.streamed


def test_a_growing_conversation_repeats_itself_with_two_messages_more() -> None:
    bodies = growing_conversation(5)
    assert len({json.dumps(body).count('"cache_control"') for body in bodies}) == 1
    for before, after in pairwise(bodies):
        *repeated, _, _ = after["messages"]
        assert before | {"messages": []} == after | {"messages": []}
        *kept, marked = before["messages"]
        marked["content"] = [unmarked(block) for block in marked["content"]]
        assert [*kept, marked] == repeated


def unmarked(block: Body) -> Body:
    return {name: value for name, value in block.items() if name != "cache_control"}


def test_peers_know_every_model_that_the_cases_ask_for() -> None:
    assert {make()["model"] for make in BODIES.values()} == set(MODELS)


def test_only_peers_that_are_installed_are_measured(tmp_path: Path) -> None:
    assert peer_recipes(tmp_path) == []
    for name, (installed, _) in PEERS.items():
        (tmp_path / name / installed).parent.mkdir(parents=True)
        (tmp_path / name / installed).touch()
    assert [recipe.name for recipe in peer_recipes(tmp_path)] == list(PEERS)


def test_a_process_is_found_with_its_memory_and_files() -> None:
    own = os.getpid()
    assert own in process_tree(os.getppid())
    assert memory_mib([own]) > 1
    with Path(__file__).open():
        assert open_files([own]) >= 4


def test_an_ended_process_has_neither() -> None:
    never = 2**22 + 1  # above the largest process id
    assert (memory_mib([never]), open_files([never])) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param(["--cases", "huge"], "no case 'huge'", id="a case that there is not"),
        pytest.param(["compare", "--targets", "apache"], "no target 'apache'", id="a target that there is not"),
        pytest.param(
            ["sweep", "--over", "time"], "nothing to sweep over called 'time'", id="a sweep that there is not"
        ),
    ],
)
def test_an_unknown_name_ends_the_command_before_anything_is_started(arguments: list[str], complaint: str) -> None:
    with pytest.raises(SystemExit, match=complaint):
        command.main(arguments)


def test_bodies_of_chat_hold_the_same_texts_tools_and_calls() -> None:
    body = BODIES["code"]()
    chat = to_chat(body)
    assert [tool["function"]["parameters"] for tool in chat["tools"]] == [
        tool["input_schema"] for tool in body["tools"]
    ]
    said, calls = json.dumps(chat["messages"]), json.dumps(body["messages"]).count('"tool_use"')
    assert said.count('"tool_calls"') == said.count('"role": "tool"') == calls > 0
    assert all(block["text"] in chat["messages"][0]["content"] for block in body["system"])
