from types import MappingProxyType

import pytest

from gateway.upstream.routes.route import Upstream
from gateway.upstream.routes.table import Routing, RoutingTable, one_upstream_table
from gateway.upstream.vendors.registry import COMPATIBLE, OPENROUTER
from gateway.upstream.vendors.vendor import Vendor

ALIASES = MappingProxyType(
    {
        "big": "~anthropic/claude-sonnet-latest",
        "claude-3-5-*": "anthropic/claude-haiku-4.5",
        "claude-3-5-sonnet-*": "anthropic/claude-sonnet-4.5",
        "claude-opus-5": "openai/gpt-6",
    }
)


def table(vendor: Vendor = OPENROUTER) -> RoutingTable:
    return one_upstream_table(Upstream("u", "http://127.0.0.1:1/v1", vendor=vendor), ALIASES)


@pytest.mark.parametrize(
    ("requested", "model"),
    [
        pytest.param("big", "~anthropic/claude-sonnet-latest", id="an alias is replaced"),
        pytest.param("claude-opus-5", "openai/gpt-6", id="an exact alias beats the built-in rule"),
        pytest.param("claude-3-5-haiku-x", "anthropic/claude-haiku-4.5", id="a wildcard alias takes what it begins"),
        pytest.param("claude-3-5-sonnet-x", "anthropic/claude-sonnet-4.5", id="the longest wildcard wins"),
        pytest.param("claude-opus-4-8", "anthropic/claude-opus-4.8", id="a bare Claude name becomes a slug"),
        pytest.param("openai/gpt-5", "openai/gpt-5", id="a slug passes"),
        pytest.param("some-model", "some-model", id="an unknown name passes, and is never replaced"),
        pytest.param("openai/gpt-5:nitro", "openai/gpt-5:nitro", id="a variant suffix passes"),
        pytest.param("@preset/mine", "@preset/mine", id="a preset passes"),
        pytest.param("claude-opus-4-8[1m]", "anthropic/claude-opus-4.8", id="Claude Code's context suffix is cut"),
    ],
)
def test_names_resolve_by_precedence(requested: str, model: str) -> None:
    route = table().resolve(requested)[0]
    assert route.target.model == model
    assert route.requested == requested


def test_on_another_upstream_claude_names_stay_as_they_are() -> None:
    assert table(COMPATIBLE).resolve("claude-opus-4-8")[0].target.model == "claude-opus-4-8"


def test_an_upstream_never_shows_its_key() -> None:
    assert "s3cret" not in repr(Upstream("u", "http://x", api_key="s3cret"))


LISTED = [{"id": "acme/writer", "context_length": 1000}, {"id": "acme/writer:free", "context_length": 500}]


@pytest.mark.parametrize(
    ("requested", "length"),
    [
        pytest.param("acme/writer", 1000, id="a model of the list"),
        pytest.param("acme/writer:nitro", 1000, id="a variant of one"),
        pytest.param("acme/writer@preset/x", 1000, id="one with a preset"),
        pytest.param("acme/writer:free", 500, id="a variant with a separate entry"),
        pytest.param("acme/reader", None, id="a model that is not listed"),
    ],
)
def test_facts_of_the_list_are_part_of_the_target(requested: str, length: int | None) -> None:
    routes = Routing(table())
    assert routes.resolve(requested)[0].target.context_length is None
    routes.learn("u", LISTED)
    assert routes.resolve(requested)[0].target.context_length == length
    assert routes.resolve(requested) is routes.resolve(requested)
    routes.learn("u", [])
    assert routes.resolve(requested)[0].target.context_length is None
