"""Time that a newcomer takes: clone, `make run`, the first answer, the first batch's results. On free ports.

Downloads every dependency, unless pip has it cached; so it is no part of the default run.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import anthropic

from tests.cluster.batches import Batches
from tests.cluster.drills import run
from tests.cluster.live import text_of
from tests.cluster.load import Say
from tests.cluster.programs import ROOT, Program, answering
from tests.support.ports import free_port

PATIENCE_SECONDS = 600.0


async def newcomer(say: Say) -> list[str]:
    """The last commit is what is cloned."""
    with TemporaryDirectory(prefix="newcomer-") as folder:
        begun = time.monotonic()
        run("git", "clone", "--quiet", str(ROOT), f"{folder}/dragoman")
        say(f"  {time.monotonic() - begun:5.1f} s  cloned")
        port = free_port()
        variables = {
            "GATEWAY_PORT": str(port),
            "GATEWAY_ADMIN_PORT": str(free_port()),
            "GATEWAY_WORKER_ADMIN_PORT": str(free_port()),
            "XDG_STATE_HOME": f"{folder}/state",
        }
        program = Program(("make", "run"), Path(folder, "log"), variables, Path(folder, "dragoman"))
        await program.start()
        try:
            return await first_steps(f"http://127.0.0.1:{port}", say, begun, program)
        finally:
            await program.stop()  # make passes it on, and waits


async def first_steps(url: str, say: Say, begun: float, program: Program) -> list[str]:
    await answering(program, f"{url}/readyz", PATIENCE_SECONDS)
    say(f"  {time.monotonic() - begun:5.1f} s  installed, and listening")
    async with anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0) as client:
        messages: list[anthropic.types.MessageParam] = [{"role": "user", "content": "Hello"}]
        message = await client.messages.create(model="big", max_tokens=100, messages=messages)
    failures = [] if "simulator" in text_of(message) else [f"the first answer was {text_of(message)!r}"]
    say(f"  {time.monotonic() - begun:5.1f} s  the first answer")
    batches = Batches(url, "any")
    try:
        await batches.submit("first", 3)
        await batches.check_all()
    finally:
        await batches.close()
    say(f"  {time.monotonic() - begun:5.1f} s  the first batch's results")
    return failures + batches.wrong
