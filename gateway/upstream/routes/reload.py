"""Put a changed gateway.toml in force without a restart: on SIGHUP, and when the file changes.

The whole file is read and checked, then the routing table is swapped; requests in flight finish with the old one. A
file that cannot be used leaves the old table in force, and log, metrics and `/status` show it. Looking at the file each
second works everywhere, also where a mounted file is replaced by another symbolic link.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from gateway.json_values import to_time
from gateway.process.signals import on_hangup
from gateway.settings import Settings, SettingsError, load_settings, needs_upstream
from gateway.settings.access_sections import AccessSections
from gateway.settings.check_sections import ONE_UPSTREAM
from gateway.settings.config_file import DEFAULT_PATH
from gateway.settings.sections import Sections
from gateway.telemetry import metrics

log = structlog.get_logger()

# Looking is one stat call a file.
LOOK_SECONDS: Final = 1.0
# An editor writes a file in several steps: it is read once it has stayed as it is for this long.
SETTLE_SECONDS: Final = 0.5

# Settings that the routing table is made from, beside the sections.
APPLIED: Final = frozenset(
    {
        *Sections.model_fields,
        *AccessSections.model_fields,
        *ONE_UPSTREAM,
        *("aliases", "keys", "model_big", "model_small"),
        *("app_title", "app_url", "connect_timeout", "dialect", "idle_timeout", "stop_sequences", "strict_fallback"),
    }
)
# Features with paths and stores that are set up at the start.
STARTED: Final = ("batch", "cache", "responses", "threads")

# What identifies the content of a file without reading it: time of change, inode, size.
Signature = tuple[int, int, int] | None


@dataclass(slots=True)
class ConfigReload:
    """`settings` are those in force, which `apply` replaces by others. `load` reads and checks, `refresh` is awaited
    after a reload: new upstreams have to be looked at. `wall` is wall time in seconds.
    """

    settings: Settings
    apply: Callable[[Settings, Settings], None] = field(default=lambda old, new: None, repr=False)  # noqa: ARG005
    refresh: Callable[[], Awaitable[object]] | None = field(default=None, repr=False)
    load: Callable[[], Settings] = field(default=lambda: load_settings(needs_upstream), repr=False)
    wall: Callable[[], float] = time.time
    look_seconds: float = LOOK_SECONDS
    settle_seconds: float = SETTLE_SECONDS
    problems: tuple[str, ...] = ()
    changed_at: float = field(init=False)  # the time since when the state is as it is
    needs_restart: tuple[str, ...] = ()
    _wanted: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)

    def __post_init__(self) -> None:
        self.changed_at = self.wall()
        self._show()

    async def run(self) -> None:
        """Look at the file each second, and reload it once it has changed and settled, or on SIGHUP at once."""
        seen = signature()
        with on_hangup(self._wanted.set):
            while True:
                await self._pause(self.look_seconds)
                hung_up = self._wanted.is_set()
                self._wanted.clear()
                found = signature()
                if found == seen and not hung_up:
                    continue
                while not hung_up and found != seen:
                    seen = found
                    await asyncio.sleep(self.settle_seconds)
                    found = signature()
                seen = found
                if self.reload() and self.refresh is not None:
                    await self.refresh()

    def reload(self) -> bool:
        """Return True if the file is in force now."""
        try:
            settings = self.load()
            self.apply(self.settings, settings)
        except SettingsError as error:
            self.problems, self.changed_at = tuple(str(error).splitlines()), self.wall()
            self._show()
            log.error("config_rejected", file=self.settings.config.file.path, problems=list(self.problems))
            return False
        self.needs_restart = changed_settings(self.settings, settings)
        self.settings, self.problems, self.changed_at = settings, (), self.wall()
        self._show()
        log.info("config_reloaded", file=settings.config.file.path, hash=self.digest)
        for line in settings.config.warnings:
            log.warning("config_doubtful", problem=line)
        for name in self.needs_restart:
            log.warning("config_needs_restart", setting=name, hint="it is read at the start only")
        return True

    @property
    def digest(self) -> str:
        return self.settings.config.file.digest

    def to_plain(self) -> dict[str, Any]:
        """Return the state, for `/status`."""
        return {
            "file": self.settings.config.file.path or None,
            "valid": not self.problems,
            "hash": self.digest,
            "since": to_time(self.changed_at),
            "problems": list(self.problems),
            "warnings": list(self.settings.config.warnings),
            "needs_restart": list(self.needs_restart),
        }

    def _show(self) -> None:
        metrics.CONFIG_VALID.set(not self.problems)
        metrics.CONFIG_HASH.set(int(self.digest, 16))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            return


def signature() -> Signature:
    """Return the signature of the configuration file, None where there is none."""
    try:
        found = Path(os.environ.get("GATEWAY_CONFIG") or DEFAULT_PATH).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def changed_settings(old: Settings, new: Settings) -> tuple[str, ...]:
    """Return the settings of the file that differ and are read at the start only: ports, Redis, secrets and so on."""
    before, after = old.config.file.values, new.config.file.values
    names = [name for name in {*before, *after} - APPLIED if before.get(name) != after.get(name)]
    names += [f"features.{name}" for name in STARTED if old.offers(name) != new.offers(name)]
    return tuple(sorted(names))
