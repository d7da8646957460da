"""Reading a configuration takes work in proportion to its length: operators generate files with 50,000 models."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.settings import load_settings
from gateway.upstream.models.catalog import to_models
from gateway.upstream.routes.config import to_table
from gateway.upstream.routes.route import Candidate, RouteRule, Upstream
from gateway.upstream.routes.table import RoutingTable
from tests.support.growth import Work, growth_of

UPSTREAM = '[upstreams.one]\nurl = "http://127.0.0.1:9/v1"\nkey = "k"\n'
MOST = 12.0

FILES: dict[str, Callable[[int], str]] = {
    "routes to other models": lambda n: (
        UPSTREAM + '[routes]\n"*" = "one"\n' + "".join(f'"m{i}" = "one/model-{i}"\n' for i in range(n))
    ),
    "routes as one with a wildcard": lambda n: (
        UPSTREAM + '[routes]\n"*" = "one"\n' + "".join(f'"m{i}" = "one"\n' for i in range(n))
    ),
    "routes with wildcards": lambda n: (
        UPSTREAM + "[routes]\n" + "".join(f'"m{i}-*" = "one/model-{i}"\n' for i in range(n))
    ),
    "tables of routes": lambda n: (
        UPSTREAM
        + "".join(f'[routes."m{i}"]\nto = "one/model-{i}"\nparams = {{ temperature = 0.5 }}\n' for i in range(n))
    ),
    "a list of models, and a route to each": lambda n: (
        UPSTREAM
        + "models = [\n"
        + "".join(f'"m{i}",\n' for i in range(n))
        + "]\n[routes]\n"
        + "".join(f'"r{i}" = "one/m{i}"\n' for i in range(n))
    ),
}


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Work]:
    """Return a function that writes a file and returns the work of reading it."""

    def prepare(text: str) -> Work:
        path = tmp_path / f"{len(text)}.toml"
        path.write_text(text)

        def work() -> None:
            monkeypatch.setenv("GATEWAY_CONFIG", str(path))
            to_table(load_settings())

        return work

    return prepare


@pytest.mark.parametrize("name", FILES)
def test_reading_a_file_takes_work_in_proportion(reading: Callable[[str], Work], name: str) -> None:
    lines, allocated = growth_of(lambda n: reading(FILES[name](n)), 15)
    assert lines <= MOST, f"{lines:.1f} times the lines for ten times as much"
    assert allocated <= MOST, f"{allocated:.1f} times the memory for ten times as much"


class CountedName(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        CountedName.compared += 1
        return str.__eq__(self, other)


def test_models_of_a_long_list_are_looked_up_without_a_search() -> None:
    names = [f"model-{number}" for number in range(300)]
    upstream = Upstream("one", "http://127.0.0.1:9/v1", models=tuple(map(CountedName, names)))
    table = RoutingTable((upstream,), (RouteRule("*", (Candidate("one"),)),))
    CountedName.compared = 0
    assert len(to_models({"one": [{"id": name} for name in names]}, table)) == len(names)
    assert all(table.resolve(name) for name in names)
    assert CountedName.compared <= 4 * len(names)
