"""Output of commands for people: no escape sequence in text from a server or a file controls the terminal."""

import asyncio
import sys

import pytest
import typer

from gateway.__main__ import COMMANDS
from gateway.cli.console import CommandError, Console, printable
from tests.cli.conftest import dragoman

TEXTS = {
    "an escape sequence": ("a\x1b[2Jb", r"a\x1b[2Jb"),
    "a carriage return": ("a\rb", r"a\rb"),
    "the control sequence introducer of 8 bits": ("a\x9bb", r"a\x9bb"),
    "an override of direction": ("a\u202eb", r"a\u202eb"),
    "half a surrogate pair": ("a\ud800b", r"a\ud800b"),
    "lines and tabs": ("a\nb\tc", "a\nb\tc"),
    "letters beyond ASCII": ("modèle-猫", "modèle-猫"),
}


@pytest.mark.parametrize(("text", "shown"), TEXTS.values(), ids=TEXTS)
def test_text_is_printed_without_control_over_the_terminal(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console()
    console.answer({}, text)
    console.note(text)
    console.event("event", text)
    with pytest.raises(typer.Exit), console.failing_clearly():
        raise CommandError(text, text)
    printed = capsys.readouterr()
    assert printed.out == f"{shown}\n"
    lines = "".join(f"dragoman: {line}\n" for line in shown.split("\n"))
    assert printed.err == f"{shown}\n{shown}\n{lines}  → {shown}\n"
    assert printable(shown) == shown


@pytest.mark.parametrize("option", ["-h", "--help", "--version", "-V"])
async def test_help_and_version_answer_without_loading_the_gateway(option: str) -> None:
    program = (
        f"import sys; from gateway.__main__ import app; app([{option!r}], prog_name='dragoman', standalone_mode=False)"
    )
    counted = "; print(sum(name.startswith(('aiohttp', 'pydantic', 'redis')) for name in sys.modules), file=sys.stderr)"
    command = (sys.executable, "-c", program + counted)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    assert (process.returncode, err.strip()) == (0, b"0")
    assert b"dragoman" in out


@pytest.mark.parametrize("command", COMMANDS)
async def test_help_of_every_command_has_the_plain_form_of_the_whole(command: str) -> None:
    ran = await dragoman(command, "--help")
    assert (ran.status, ran.out.startswith(f"Usage: dragoman {command} [OPTIONS]")) == (0, True)
    assert not set(ran.out) & set("╭│…")


async def test_wrong_subcommand_is_an_error_in_plain_lines() -> None:
    ran = await dragoman("batch", "rum")
    assert (ran.status, ran.err.splitlines()[-1]) == (2, "Error: No such command 'rum'. Did you mean 'run'?")


async def test_serve_is_imported_without_the_garbage_collector_and_without_jose() -> None:
    program = """
import gc, sys
from gateway.__main__ import COMMANDS, load
rounds = []
gc.callbacks.append(lambda phase, _: rounds.append(phase))
load(COMMANDS["serve"][0])
print(gc.isenabled(), len(rounds) < 20, gc.get_freeze_count() > 100_000, "joserfc" in sys.modules)
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.decode().split() == ["True", "True", "True", "False"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_each_shell_has_a_completion_script(shell: str) -> None:
    ran = await dragoman("completion", shell)
    assert (ran.status, "_DRAGOMAN_COMPLETE" in ran.out) == (0, True)


COMPLETED = {
    "bash": {"COMP_WORDS": "dragoman bat", "COMP_CWORD": "1"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "dragoman bat"},
    "fish": {"_TYPER_COMPLETE_ARGS": "dragoman bat", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}


@pytest.mark.parametrize("shell", COMPLETED)
async def test_completion_names_the_commands(shell: str) -> None:
    ran = await dragoman(_DRAGOMAN_COMPLETE=f"complete_{shell}", **COMPLETED[shell])
    assert ("batch" in ran.out, "keys" in ran.out) == (True, False)


async def test_help_has_one_way_to_completion() -> None:
    ran = await dragoman("--help")
    assert ("completion" in ran.out, "-completion" in ran.out) == (True, False)
