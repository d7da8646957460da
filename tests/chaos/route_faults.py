"""Several upstreams: two of three fail in turn in every way, and the configuration is reloaded under load.

Clients of a real front end see no error while one upstream is healthy, and no request fails because of a reload.
"""

import asyncio
import signal
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from gateway.simulator.loopback import Simulator
from tests.chaos.world import World, require, until
from tests.e2e.conftest import KEY, Live, Process, front_end
from tests.e2e.test_failing_upstream import ANSWERS, Failing, failing

AT_ONCE = 8
EACH_WAY = 24  # requests while both upstreams fail in one way
RELOADS = 50
REQUESTS = 2000
ONE_UPSTREAM = {"GATEWAY_UPSTREAM_URL": "", "GATEWAY_UPSTREAM_API_KEY": "", "GATEWAY_UPSTREAM_FLAVOR": ""}
SHORT = ", header_timeout = 0.3, first_content_timeout = 0.3"


async def fail_in_turn(_: World, scale: int) -> str:
    """Two of three upstreams fail, each in another way, and both in another one after some requests."""
    seen, calls = await failing_in_turn(tuple(ANSWERS), EACH_WAY * scale)
    return f"{seen.total()} answers, {calls} failed calls"


async def reload_often(_: World, scale: int) -> str:
    """The file changes again and again while requests and streams are answered."""
    seen = await reloading_under_load(REQUESTS * scale, RELOADS * scale)
    return f"{seen.total()} answers through {RELOADS * scale} reloads"


async def failing_in_turn(ways: tuple[str, ...], each: int) -> tuple[Counter[str], int]:
    """Return the answers by upstream, and the calls to upstreams that fail."""
    seen: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        healthy = await stack.enter_async_context(Simulator())
        broken: list[Failing] = [await stack.enter_async_context(failing(ways[0])) for _ in range(2)]
        text = "[upstreams]\n" + "".join(
            f'{name} = {{ url = "{url}", vendor = "openrouter"{SHORT} }}\n'
            for name, url in (("a", broken[0].url), ("b", broken[1].url), ("c", healthy.url))
        )
        live, *_ = await served(stack, healthy, text + '[routes]\n"*" = ["a", "b", "c"]\n')
        for number, way in enumerate(ways):
            broken[0].answer, broken[1].answer = ANSWERS[way], ANSWERS[ways[number - 1]]
            seen += await ask_often(live, each)
    require(set(seen) == {"200 c"}, f"clients saw {dict(seen)}")
    return seen, sum(one.calls for one in broken)


async def reloading_under_load(requests: int, reloads: int) -> Counter[str]:
    """Return the answers by upstream; the route leads to one of two upstreams after the other."""
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(Simulator()) for _ in range(2)]

        def text(number: int) -> str:
            upstreams = f'a = {{ url = "{first.url}", vendor = "openrouter" }}\n'
            upstreams += f'b = {{ url = "{second.url}", vendor = "openrouter" }}\n'
            return f'# {number}\n[upstreams]\n{upstreams}[routes]\n"*" = "{"ab"[number % 2]}"\n'

        live, started, file = await served(stack, first, text(0))
        asking = asyncio.ensure_future(ask_often(live, requests))
        stack.callback(asking.cancel)
        for number in range(1, reloads + 1):
            spoil(file, text(number), number)
            started.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.02)
            write(file, text(number))
            started.process.send_signal(signal.SIGHUP)
            await until(partial(has_reloaded, started, number), "the reload")
        seen = await asking
    require(set(seen) <= {"200 a", "200 b"}, f"clients saw {dict(seen)}")
    return seen


async def has_reloaded(started: Process, number: int) -> bool:
    return sum(line["event"] == "config_reloaded" for line in started.lines) >= number


async def served(stack: AsyncExitStack, simulator: Simulator, text: str) -> tuple[Live, Process, Path]:
    """Start a front end with this configuration file."""
    directory = stack.enter_context(TemporaryDirectory(prefix="dragoman-"))
    file = Path(directory) / "gateway.toml"
    file.write_text(text)
    live, started = await stack.enter_async_context(front_end(simulator, GATEWAY_CONFIG=str(file), **ONE_UPSTREAM))
    return live, started, file


def spoil(file: Path, text: str, number: int) -> None:
    """Leave something else in the file's place: half of it, a link that leads nowhere, a folder, or nothing."""
    file.unlink()
    match number % 4:
        case 0:
            file.write_text(text[: len(text) // 2])
        case 1:
            file.symlink_to(file.with_name("nowhere"))
        case 2:
            file.mkdir()


def write(file: Path, text: str) -> None:
    """Replace the file, as editors do: it is never half written."""
    if file.is_dir():
        file.rmdir()
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


async def ask_often(live: Live, requests: int) -> Counter[str]:
    """Return how often each status and upstream was seen; every second request is a stream."""
    seen: Counter[str] = Counter()
    left = iter(range(requests))

    async def ask(session: aiohttp.ClientSession) -> None:
        for number in left:
            body = {"model": "sim/echo", "max_tokens": 5, "messages": [{"role": "user", "content": f"hi {number}"}]}
            body |= {"stream": bool(number % 2)}
            async with session.post(f"{live.url}/v1/messages", json=body) as answer:
                text = await answer.text()
            is_whole = "message_stop" in text if number % 2 else '"end_turn"' in text or '"max_tokens"' in text
            status = str(answer.status) if is_whole else "broken"
            seen[f"{status} {answer.headers.get('x-gateway-upstream', '-')}"] += 1

    async with aiohttp.ClientSession(headers={"x-api-key": KEY}) as session, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(ask(session))
    return seen
