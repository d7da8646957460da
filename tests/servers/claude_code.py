"""The real Claude Code, without a terminal, in sessions of several turns.

It comes from npm into the cache folder of the servers. Each session has its own home, so that no settings of the user's
take part, and nothing but loopback is reached.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.servers.environment import cache_folder, run
from tests.servers.launch import ROOT

PACKAGE = "@anthropic-ai/claude-code@2.1.332"
TURN_SECONDS = 120.0
LINE_BYTES = 16 * 1024 * 1024

# One tool is enough, and keeps the prompt near 8,000 of the scripted model's small tokens; all tools take 74,000.
OPTIONS = (
    *("--print", "--verbose", "--input-format", "stream-json", "--output-format", "stream-json"),
    *("--allowedTools", "Bash(echo:*)", "--setting-sources", "", "--strict-mcp-config"),
)
CLOSED = "http://127.0.0.1:9"  # where nothing listens
SEALED = {
    "HTTPS_PROXY": CLOSED,
    "HTTP_PROXY": CLOSED,
    "NO_PROXY": "127.0.0.1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
}


@dataclass(slots=True)
class Turn:
    """The lines that the program wrote for a turn. The last one is its result."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def result(self) -> dict[str, Any]:
        return self.lines[-1]

    @property
    def has_failed(self) -> bool:
        return self.result["subtype"] != "success" or self.result["is_error"]

    @property
    def text(self) -> str:
        return str(self.result.get("result"))

    def blocks(self, kind: str) -> list[dict[str, Any]]:
        """Return the content blocks of this kind, of the model and of the tools."""
        messages = [line["message"]["content"] for line in self.lines if line["type"] in ("assistant", "user")]
        content = [block for blocks in messages if isinstance(blocks, list) for block in blocks]
        return [block for block in content if block["type"] == kind]


@dataclass(slots=True)
class Session:
    process: asyncio.subprocess.Process

    async def turn(self, text: str) -> Turn:
        """Send a message of the user and wait for the end of the turn."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = {"type": "user", "message": {"role": "user", "content": text}}
        self.process.stdin.write(orjson.dumps(line) + b"\n")
        turn = Turn()
        async with asyncio.timeout(TURN_SECONDS):
            await self.process.stdin.drain()
            async for raw in self.process.stdout:
                turn.lines.append(orjson.loads(raw))
                if turn.result["type"] == "result":
                    return turn
        raise AssertionError(f"Claude Code ended during a turn: {turn.lines[-3:]}")


def missing() -> str | None:
    """Return the reason why Claude Code cannot be installed here."""
    return None if shutil.which("npm") else "npm is not installed"


def install() -> Path:
    """Return the program, installed if need be. Raises InstallError."""
    folder = cache_folder() / "claude-code"
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != PACKAGE:
        folder.mkdir(parents=True, exist_ok=True)
        run("npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", folder, PACKAGE)
        stamp.write_text(PACKAGE)
    return folder / "node_modules" / ".bin" / "claude"


async def environment_for(url: str, key: str, model: str) -> dict[str, str]:
    """Return the variables that `dragoman claude` prints."""
    command = ("-m", "gateway", "claude", "--url", url, "--model", model, "--small", model, "--json")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=ROOT,
        env={**os.environ, "ANTHROPIC_API_KEY": key},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return dict(orjson.loads(output)["env"])


@asynccontextmanager
async def session(variables: Mapping[str, str], folder: Path, tools: str = "Bash") -> AsyncIterator[Session]:
    """Run Claude Code in an empty working directory and its own home. `tools`: those it has; "default" is all."""
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    process = await asyncio.create_subprocess_exec(
        *(install(), *OPTIONS, "--tools", tools),
        cwd=work,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **SEALED, **variables},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
    )
    try:
        yield Session(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()  # asyncio closes the pipes only once they are read to the end
