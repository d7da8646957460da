"""Waiting for a condition that nothing reports."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], bool | Awaitable[bool]], *, seconds: float = 10.0, every: float = 0.01) -> None:
    """Return once the condition holds; it is looked at again and again. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            holds = condition()
            if await holds if inspect.isawaitable(holds) else holds:
                return
            await asyncio.sleep(every)
