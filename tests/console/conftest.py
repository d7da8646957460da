"""One stage for all tests of a file, since each takes a second to set."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.console.stage import Stage, staged, tell_a_story


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with staged() as ready:
        await tell_a_story(ready)
        await ready.seen(19)
        yield ready
