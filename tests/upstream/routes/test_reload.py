"""A changed gateway.toml: when it is read again, what is put in force, and what a wrong one leaves."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.process.tasks import background
from gateway.settings import Settings, load_settings, names_of
from gateway.telemetry import metrics
from gateway.upstream.routes.config import to_table
from gateway.upstream.routes.reload import ConfigReload
from gateway.upstream.routes.table import Routing
from gateway.upstream.vendors.registry import VENDORS
from tests.support.waiting import until

FIRST = '[upstreams]\na = { url = "http://a/v1" }\nb = { url = "http://b/v1" }\n[routes]\n"*" = "a"\n'
SECOND = FIRST.replace('"*" = "a"', '"*" = "b"')


@pytest.fixture(autouse=True)
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in [name for field in Settings.model_fields for name in names_of(field)]:
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "gateway.toml"
    path.write_text(FIRST)
    monkeypatch.setenv("GATEWAY_CONFIG", str(path))
    return path


def reloading() -> tuple[ConfigReload, Routing]:
    settings = load_settings()
    routing = Routing(to_table(settings))
    return ConfigReload(settings, lambda _, changed: routing.swap(to_table(changed))), routing


def first_of(routing: Routing) -> str:
    return routing.resolve("m")[0].upstream.name


def test_reload_puts_the_file_in_force_and_keeps_what_was_learned(file: Path) -> None:
    reload, routing = reloading()
    routing.learn("a", [{"id": "m", "context_length": 7}])
    routing.recognise("b", VENDORS["vllm"])
    before = routing.table
    file.write_text(SECOND)
    digest = reload.digest
    assert reload.reload()
    assert (first_of(routing), reload.problems) == ("b", ())
    assert reload.digest != digest
    assert routing.resolve("m")[0].upstream.vendor.name == "vllm"
    assert routing.table.listed["a"]["m"]["context_length"] == 7
    assert before.resolve("m")[0].upstream.name == "a"
    file.write_text(SECOND.replace("http://a/v1", "http://c/v1"))
    assert reload.reload()
    assert "a" not in routing.table.listed


def test_file_that_cannot_be_used_leaves_the_old_one_in_force(file: Path) -> None:
    reload, routing = reloading()
    file.write_text(SECOND.replace('"*" = "b"', '"*" = "c"'))
    assert not reload.reload()
    assert first_of(routing) == "a"
    told = reload.to_plain()
    assert told["valid"] is False
    assert told["problems"] == [f'{file}:5: routes."*": no upstream is named "c"; the upstreams are a, b']
    assert metrics.CONFIG_VALID._value.get() == 0  # type: ignore[attr-defined]
    file.write_text(SECOND)
    assert reload.reload()
    assert reload.to_plain()["valid"] is True
    assert metrics.CONFIG_VALID._value.get() == 1  # type: ignore[attr-defined]


def test_setting_that_is_read_at_the_start_only_is_named(file: Path) -> None:
    reload, _ = reloading()
    file.write_text("port = 9000\n" + SECOND)
    assert reload.reload()
    assert reload.needs_restart == ("port",)


def test_features_set_up_at_the_start_are_named_and_settings_of_routes_are_not(file: Path) -> None:
    reload, routing = reloading()
    features = "[features]\nbatch = false\ncache = false\nmultimodal = false\nresponses = false\nthreads = false\n"
    applied = 'dialect = "messages"\nconnect_timeout = 3.0\nidle_timeout = 7.0\nstop_sequences = "gateway"\n'
    applied += 'strict_fallback = "on"\napp_title = "Mine"\napp_url = "https://mine.example.com"\n'
    file.write_text(applied + FIRST + features)
    assert reload.reload()
    assert reload.needs_restart == ("features.batch", "features.cache", "features.responses", "features.threads")
    table = routing.table
    assert (table.local_stops, table.strict_fallback) == (True, True)
    [route] = table.resolve("m")
    assert (route.upstream.timeouts.connect, route.upstream.timeouts.idle, route.dialect) == (3.0, 7.0, "messages")


def write(path: Path) -> None:
    path.write_text(SECOND)


def rename(path: Path) -> None:
    (path.parent / "new").write_text(SECOND)
    (path.parent / "new").rename(path)


@pytest.mark.parametrize("change", [write, rename])
async def test_changed_file_is_reloaded(file: Path, change: Callable[[Path], None]) -> None:
    await reloads(file, lambda: change(file))


def as_links(file: Path) -> Callable[[], None]:
    """Mount the file as Kubernetes does a ConfigMap: as links to a directory, which it replaces."""
    for name, text in (("v1", FIRST), ("v2", SECOND)):
        (file.parent / name).mkdir()
        (file.parent / name / "gateway.toml").write_text(text)
    file.unlink()
    (file.parent / "data").symlink_to("v1")
    file.symlink_to("data/gateway.toml")

    def swap() -> None:
        (file.parent / "next").symlink_to("v2")
        (file.parent / "next").rename(file.parent / "data")

    return swap


async def test_swapped_symbolic_link_is_reloaded(file: Path) -> None:
    await reloads(file, as_links(file))


async def test_hangup_reloads_at_once(file: Path) -> None:
    def hang_up() -> None:
        os.utime(file, (1, 1))
        write(file)
        os.kill(os.getpid(), signal.SIGHUP)

    await reloads(file, hang_up, looks_every=60.0)


async def reloads(file: Path, change: Callable[[], None], looks_every: float = 0.01) -> None:
    reload, routing = reloading()
    reload.look_seconds, reload.settle_seconds = looks_every, 0.01
    async with background(reload.run()), asyncio.timeout(5):
        await asyncio.sleep(0)
        change()
        await until(lambda: first_of(routing) == "b")
