"""The gateway's store of keys and limits, for commands that change it."""

import getpass
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import structlog

from gateway.access.store import AccessStore, Actor
from gateway.cli.console import CommandError, Exit, run_async
from gateway.errors import GatewayError
from gateway.redis.embedded import EmbeddedServerError
from gateway.redis.url import EMBEDDED
from gateway.settings import SettingsError, load_settings
from gateway.wiring import open_access_store

Result = TypeVar("Result")


def on_store(work: Callable[[AccessStore], Awaitable[Result]]) -> Result:
    """Run against the gateway's Redis. Raises CommandError, with a remedy, if that fails."""

    async def connected() -> Result:
        try:
            settings = load_settings()
        except SettingsError as error:
            raise CommandError(str(error), "docs/configuration.md lists every setting") from None
        if settings.redis_url is None:
            settings = settings.model_copy(update={"redis_url": EMBEDDED})
        async with open_access_store(settings) as store:
            assert store is not None  # the settings name a server
            return await work(store)

    try:
        with warnings_on_stderr():
            return run_async(connected)
    except EmbeddedServerError as error:
        raise CommandError(str(error), "set GATEWAY_REDIS_URL", status=Exit.UNAVAILABLE) from None
    except GatewayError as error:
        if error.status < 500:
            raise CommandError(error.message, status=Exit.FAILED) from None
        raise CommandError(error.message, "is GATEWAY_REDIS_URL the gateway's?", status=Exit.UNAVAILABLE) from None


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Send warnings of the gateway's parts to standard error, and drop lower levels: stdout is for results."""
    before = structlog.get_config()
    level = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=level, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        yield
    finally:
        structlog.configure(**before)


def actor() -> Actor:
    return Actor("cli", getpass.getuser())
