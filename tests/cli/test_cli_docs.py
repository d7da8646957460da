"""The command line's documents: every example is run, and every command, option, variable and message is there."""

import ast
import asyncio
import json
import os
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from gateway.__main__ import app
from gateway.cli.console import Exit
from tests.cli.conftest import dragoman, request_line
from tests.e2e.conftest import KEY, Live

ROOT = Path(__file__).parents[2]
CLI = (ROOT / "docs/cli.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()

# What the examples start from, beside the file that the page shows.
BROKEN = (request_line("capital-1"), '{"custom_id": "capital-2"', request_line("capital-1"))


def examples(page: str) -> list[list[tuple[str, list[str]]]]:
    """Blocks of commands, each with the lines it prints."""
    blocks = []
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        steps: list[tuple[str, list[str]]] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
        blocks.append(steps)
    return blocks


def pattern_of(lines: list[str]) -> str:
    """Return a pattern in which `…` matches anything in a line, and alone on one any lines."""
    parts = ["(?s:.*)" if line == "…" else re.escape(line).replace("…", "[^\n]*") + "\n" for line in lines]
    return "".join(parts)


async def follow(command: str, batch_id: str, variables: dict[str, str]) -> tuple[str, str]:
    """Return a command's output, in all and on standard output."""
    words = shlex.split(command.replace("msgbatch_…", batch_id))
    own = dict(word.split("=", 1) for word in words[: words.index("dragoman")])
    ran = await dragoman(*words[words.index("dragoman") + 1 :], **variables, **own)
    return ran.all, ran.out


@pytest.mark.parametrize("block", examples(CLI), ids=lambda block: block[0][0])
@pytest.mark.covers("Operation · every example of the documentation runs")
async def test_an_example_prints_what_it_shows(
    whole: Live, block: list[tuple[str, list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "capitals.jsonl").write_text(re.findall(r"```json\n(.*?)```", CLI, re.DOTALL)[0])
    (tmp_path / "broken.jsonl").write_text("\n".join(BROKEN))
    variables = {"ANTHROPIC_BASE_URL": whole.url, "ANTHROPIC_API_KEY": KEY}
    batch_id = ""
    for command, lines in block:
        printed, out = await follow(command, batch_id, variables)
        assert re.fullmatch(pattern_of(lines), printed), printed
        batch_id = batch_id or out.strip()


async def test_the_environment_for_claude_code_is_evaluated_as_shown(whole: Live, tmp_path: Path) -> None:
    [line] = re.findall(r"```sh\n(eval .*?)\n```", CLI)
    shim = tmp_path / "dragoman"
    shim.write_text('#!/bin/sh\nexec "$PYTHON" -m gateway "$@"\n')
    shim.chmod(0o755)
    fake_claude = tmp_path / "claude"
    fake_claude.write_text('#!/bin/sh\nprintf "%s %s" "$ANTHROPIC_BASE_URL" "$ANTHROPIC_MODEL"\n')
    fake_claude.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHON": os.sys.executable,  # type: ignore[attr-defined]
        "PYTHONPATH": str(ROOT),
        "ANTHROPIC_BASE_URL": whole.url,
        "ANTHROPIC_API_KEY": KEY,
    }
    process = await asyncio.create_subprocess_exec("sh", "-c", line, env=environment, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.decode() == f"{whole.url} big"


def commands() -> Iterator[tuple[str, Any]]:
    root: Any = typer.main.get_command(app)
    for name in root.list_commands(None):
        command = root.get_command(None, name)
        yield name, command
        for inner, its in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", its


def test_every_command_and_option_is_documented() -> None:
    for name, command in commands():
        assert name.split()[-1] in re.findall(r"[a-z][a-z-]*", CLI), name
        for parameter in command.params:
            long = [option for option in parameter.opts if option.startswith("--")]
            if name not in ("serve", "dev") and not getattr(parameter, "hidden", False):
                assert all(option in CLI for option in long), (name, long)


def test_every_exit_status_is_documented() -> None:
    table = CLI.split("| status |")[1].split("\n\n")[0]
    assert {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == {int(one) for one in Exit}


def test_every_event_is_documented() -> None:
    sources = [path.read_text() for path in (ROOT / "gateway/cli").glob("*.py")]
    used = {name for source in sources for name in re.findall(r'"event": "(\w+)"', source)}
    said = re.compile(r'(?:note|event)\([^()]*(?:\([^()]*\))*[^()]*?, "(\w+)"')
    noted = {name for source in sources for name in said.findall(source)}
    written = set(re.findall(r"^\| `(\w+)` \|", CLI.split("| event |")[1], re.MULTILINE))
    assert used | noted <= written | {"error"}


def test_the_shown_file_is_what_the_command_takes() -> None:
    [block] = re.findall(r"```json\n(.*?)```", CLI, re.DOTALL)
    assert [json.loads(line)["custom_id"] for line in block.splitlines()] == ["capital-1", "capital-2", "capital-3"]


@cache
def said_in_source() -> str:
    """All text that the source can say, with `…` for what is put in."""
    texts = []
    for room in ("gateway", "workers"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.JoinedStr(values=values):
                        parts = [str(one.value) if isinstance(one, ast.Constant) else "…" for one in values]
                        texts.append("".join(parts).replace("….…", "…"))
                    case ast.Constant(value=str() as text):
                        texts.append(text)
                    case _:
                        pass
    return "\n".join(texts)


def quoted_symptoms() -> list[str]:
    """The first column of the tables of symptoms, where it quotes: other words are none of the gateway's."""
    cells = re.findall(r"^\| ([^|]+) \|", OPERATIONS, re.MULTILINE)
    return [quoted for cell in cells for quoted in re.findall(r"“([^”]+)”", cell)]


@pytest.mark.parametrize("symptom", quoted_symptoms())
def test_a_quoted_message_is_one_that_is_said(symptom: str) -> None:
    assert symptom in said_in_source()


def test_symptoms_are_quoted() -> None:
    assert len(quoted_symptoms()) > 30
