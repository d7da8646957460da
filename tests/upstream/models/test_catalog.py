"""The list of models, from upstreams with odd, broken or unavailable lists."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from gateway.errors import UpstreamError, UpstreamUnreachable
from gateway.telemetry.redaction import Redactor
from gateway.upstream.http.client import Answer, Call
from gateway.upstream.models import catalog
from gateway.upstream.models.catalog import FIRST_RETRY_SECONDS, FRESH_SECONDS, Catalog, to_entries, to_models
from gateway.upstream.routes.route import Candidate, RouteRule, Upstream
from gateway.upstream.routes.table import Routing, RoutingTable, one_upstream_table
from gateway.upstream.vendors.registry import VENDORS

UPSTREAM = Upstream("test", "http://upstream.test/v1", vendor=VENDORS["bedrock"])
GOOD = {"id": "good/model", "created": 1_750_000_000}


@dataclass
class Listed:
    """An answer to GET /models."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    async def read(self, limit: int) -> bytes:
        return self.body

    async def pump(self, receive: Callable[[bytes], None]) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self) -> None: ...


@dataclass
class Client:
    """An upstream that gives `answer`, or raises it."""

    answer: Listed | type[Exception]
    reads: int = 0

    async def open(self, call: Call) -> Answer:
        self.reads += 1
        if isinstance(self.answer, Listed):
            return self.answer
        raise self.answer("no answer")

    async def close(self) -> None: ...


def catalog_of(answer: Listed | type[Exception], clock: Callable[[], float] | None = None) -> tuple[Catalog, Client]:
    client = Client(answer)
    return Catalog(client, Routing(one_upstream_table(UPSTREAM)), clock or (lambda: 1e6)), client


def ids(models: tuple[dict[str, Any], ...]) -> list[str]:
    return [model["id"] for model in models]


DEEP: Any = 1
for _ in range(600):
    DEEP = [DEEP]

LISTS = {"a": [{"id": "qwen/x"}, {"id": "qwen/y", "name": "Why"}, {"id": "glm"}], "b": [{"id": "x"}, {"id": "z"}]}
# The routes, and the names that are listed.
RENAMED: dict[str, tuple[dict[str, tuple[Candidate, ...]], list[str]]] = {
    "a prefix in place of a prefix": ({"local/*": (Candidate("a", "qwen/*"),)}, ["local/x", "local/y"]),
    "a prefix in front of all": ({"b/*": (Candidate("b", "*"),)}, ["b/x", "b/z"]),
    "beside their own names": (
        {"b/*": (Candidate("b", "*"),), "*": (Candidate("b"),)},
        ["b/x", "b/z", "x", "z"],
    ),
    "the name alone": ({"b-*": (Candidate("b"),)}, []),
    "two candidates": ({"l/*": (Candidate("a", "qwen/*"), Candidate("b", "*"))}, ["l/x", "l/y", "l/z"]),
    "another route for one of them": (
        {"b/*": (Candidate("b", "*"),), "b/x": (Candidate("a", "glm"),)},
        ["b/x", "b/z"],
    ),
    "all to one model": ({"b/*": (Candidate("b", "x"),)}, []),
    "two wildcards": ({"*:*": (Candidate("a", "*/*"),)}, ["qwen:x", "qwen:y"]),
    "more wildcards than the model has": ({"*:*": (Candidate("b", "*"),)}, []),
    "names that the wildcard would split elsewhere": ({"*-*": (Candidate("a", "*w*"),)}, ["q-en/x", "q-en/y"]),
}


@pytest.mark.parametrize("case", RENAMED)
def test_models_are_listed_by_the_names_that_routes_with_a_wildcard_give_them(case: str) -> None:
    routes, names = RENAMED[case]
    rules = tuple(RouteRule(pattern, candidates) for pattern, candidates in routes.items())
    table = RoutingTable((Upstream("a", "http://a.test"), Upstream("b", "http://b.test")), rules)
    assert sorted(ids(to_models(LISTS, table))) == names
    for name in names:
        assert table.serves(name)


def test_renamed_models_keep_what_their_list_says_and_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = (RouteRule("local/*", (Candidate("a", "qwen/*"),)),)
    table = RoutingTable((Upstream("a", "http://a.test"),), rules)
    named = {model["id"]: model["display_name"] for model in to_models(LISTS, table)}
    assert named == {"local/x": "local/x", "local/y": "Why"}
    monkeypatch.setattr(catalog, "MAX_RENAMED", 1)
    assert ids(to_models(LISTS, table)) == ["local/x"]


FIELDS = ("name", "created", "context_length", "max_model_len", "top_provider", "architecture", "supported_parameters")
NESTED = (
    {"top_provider": {"context_length": "8k", "max_completion_tokens": {"x": 1}}},
    {"architecture": {"input_modalities": "text"}},
    {"architecture": {"input_modalities": [{"x": 1}, None, "image"]}},
    {"reasoning": {"supported_efforts": [["high"], 5], "mandatory": "yes", "supports_max_tokens": []}},
    {"pricing": {"prompt": DEEP, "completion": "0.1"}},
)
VALUES = (None, True, -1, 0, 5, 1.5, 1e300, 1_750_000_000_000, 2**63, "", "x", [], [{"x": 1}], [[]], {}, {"x": DEEP})
ODD_ENTRIES = [{name: value} for name in (*FIELDS, "reasoning", "pricing") for value in VALUES] + list(NESTED)


@pytest.mark.parametrize("odd", ODD_ENTRIES, ids=lambda odd: str(odd)[:60])
async def test_an_odd_field_spoils_neither_its_entry_nor_the_others(odd: dict[str, Any]) -> None:
    catalog, _ = catalog_of(Listed(orjson.dumps({"data": [GOOD, {"id": "odd/model"}]})))
    catalog.routing.learn(UPSTREAM.name, [GOOD, {"id": "odd/model", **odd}])
    catalog.routing.resolve("odd/model")
    models = to_models({UPSTREAM.name: [GOOD, {"id": "odd/model", **odd}]}, catalog.routing.table)
    assert sorted(ids(models)) == ["good/model", "odd/model"]
    orjson.dumps(models)
    for model in models:
        assert isinstance(model["display_name"], str)
        assert model["max_input_tokens"] is None or model["max_input_tokens"] > 0


@pytest.mark.parametrize(
    "entry",
    [
        None,
        5,
        [],
        "",
        {},
        {"id": None},
        {"id": 7},
        {"id": ""},
        {"id": ["x"]},
        {"id": "x" * 513},
        {"name": 5},
        {"id": None, "name": "x"},
    ],
    ids=str,
)
def test_an_entry_without_a_usable_id_is_left_out(entry: object) -> None:
    assert to_entries(orjson.dumps({"data": [entry, GOOD]})) == [GOOD]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"data": [GOOD]}, ["good/model"]),
        ({"object": "list", "models": [{"name": "llama"}], "data": [GOOD]}, ["good/model"]),
        ({"models": [{"id": "a"}]}, ["a"]),
        ({"models": [{"name": "a"}, {"name": "b:latest", "model": "b"}]}, ["a", "b"]),
        ({"success": True, "result": [{"id": "a"}]}, ["a"]),
        ([GOOD], ["good/model"]),
        (["a", "b"], ["a", "b"]),
        ({"data": []}, []),
        ({"data": None}, []),
        ({"data": [{"id": "a", "n": 1}, {"id": "a", "n": 2}]}, ["a"]),
    ],
    ids=str,
)
def test_a_list_is_found_wherever_servers_put_it(body: object, found: list[str]) -> None:
    assert [entry["id"] for entry in to_entries(orjson.dumps(body))] == found


@pytest.mark.parametrize("body", [b"", b"<html>", b"5", b"null", b'"x"', b"{}", b'{"data":{"id":"a"}}', b'{"data":5}'])
def test_a_body_without_a_list_is_the_upstreams_error(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        to_entries(body)


@pytest.mark.parametrize(
    ("created", "time"),
    [
        (1_750_000_000, "2025-06-15T15:06:40Z"),
        (1_750_000_000_000, "2025-06-15T15:06:40Z"),
        (1e18, "1970-01-01T00:00:00Z"),
        ("2025-06-15", "1970-01-01T00:00:00Z"),
    ],
)
def test_a_time_of_creation_may_be_in_milliseconds(created: object, time: str) -> None:
    assert (
        to_models({UPSTREAM.name: [{"id": "a", "created": created}]}, one_upstream_table(UPSTREAM))[0]["created_at"]
        == time
    )


async def test_the_list_stays_known_while_the_upstream_is_away() -> None:
    now = 1e6
    catalog, client = catalog_of(Listed(orjson.dumps({"data": [GOOD]})), lambda: now)
    assert ids(await catalog.models()) == ["good/model"]
    client.answer = UpstreamUnreachable
    now += FRESH_SECONDS
    assert ids(await catalog.models()) == ["good/model"]
    assert client.reads == 2


FAILURES = {
    "an upstream that is away": UpstreamUnreachable,
    "a failure nobody foresaw": RuntimeError,
    "a status of 500": Listed(b"{}", 500),
    "a list that cannot be read": Listed(b"{"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_after_a_failure_of_any_kind_the_list_is_not_read_for_each_request(
    failure: Listed | type[Exception],
) -> None:
    catalog, client = catalog_of(failure)
    with suppress(RuntimeError):
        await catalog.models()
    assert await catalog.models() == ()
    assert client.reads == 1


async def test_secrets_are_removed_from_every_text_of_a_listed_model() -> None:
    secret = "sk-or-v1-0123456789abcdef"
    listed = {"id": f"a/{secret}", "name": f"Model {secret}", "pricing": {"prompt": "0.1", "note": secret}}
    catalog, _ = catalog_of(Listed(orjson.dumps({"data": [listed]})))
    catalog.redactor = Redactor([secret])
    (model,) = await catalog.models()
    assert (model["id"], model["display_name"]) == ("a/[removed]", "Model [removed]")
    assert model["pricing"] == {"prompt": "0.1"}


class Counting(Redactor):
    """Counts the characters that it is given of a list."""

    characters = 0

    def listed(self, text: str) -> str:
        self.characters += len(text)
        return super().listed(text)


async def test_prose_and_the_rest_of_a_long_name_are_not_searched_for_secrets() -> None:
    listed = {"id": "m", "name": "n" * 100_000, "description": "d" * 100_000, "architecture": {"a": "a" * 100_000}}
    catalog, _ = catalog_of(Listed(orjson.dumps({"data": [listed]})))
    catalog.redactor = counting = Counting(["sk-or-v1-0123456789abcdef"])
    (model,) = await catalog.models()
    assert (model["display_name"], counting.characters) == ("n" * 512, 513)


async def test_long_id_and_id_like_a_path_stay_as_they_are() -> None:
    listed = [{"id": "/models/" + "x" * 400 + ".gguf"}, {"id": "m", "name": "/home/user/m.gguf"}]
    catalog, _ = catalog_of(Listed(orjson.dumps({"data": listed})))
    catalog.redactor = Redactor(["sk-or-v1-0123456789abcdef"])
    assert {model["display_name"] for model in await catalog.models()} == {listed[0]["id"], "/home/user/m.gguf"}


@pytest.mark.parametrize("failure", [Listed(b"{}", 503), UpstreamUnreachable], ids=["refused", "unreachable"])
async def test_list_that_cannot_be_read_is_marked_and_read_again_soon(failure: Any) -> None:
    now = 0.0
    catalog, client = catalog_of(failure, lambda: now)
    await catalog.models()
    assert (catalog.unread, client.reads) == (("test",), 1)
    client.answer = Listed(orjson.dumps({"data": [GOOD]}))
    await catalog.models()
    assert (catalog.unread, client.reads) == (("test",), 1)
    now = FIRST_RETRY_SECONDS
    assert "good/model" in ids(await catalog.models())
    assert catalog.unread == ()


async def test_list_that_is_old_is_marked_and_kept() -> None:
    now = 0.0
    catalog, client = catalog_of(Listed(orjson.dumps({"data": [GOOD]})), lambda: now)
    await catalog.models()
    client.answer, now = UpstreamError, FRESH_SECONDS
    assert "good/model" in ids(await catalog.models())
    assert catalog.unread == ("test",)
