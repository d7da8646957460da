"""Fields that can change an answer change the fingerprint, and others do not."""

import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.access.keyring import Keyring
from gateway.cache.key import VOLATILE, canonical, fingerprint, to_secret
from gateway.context import Context
from gateway.messages.claude_code import BILLING_HEADER
from gateway.schemas.anthropic import MessagesRequest
from gateway.upstream.models.target import Target
from gateway.upstream.routes.route import Upstream
from gateway.upstream.routes.table import one_upstream_table

SECRET = b"secret"
CONTEXT = Context("req_1", tenant="acme", key_id="k1", betas=frozenset({"b", "a"}))
ROUTE = one_upstream_table(Upstream("openrouter", "https://upstream.example/v1")).resolve("openai/gpt-5")[0]
REQUEST: dict[str, Any] = {
    "model": "openai/gpt-5",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "Be brief."}],
    "temperature": 0,
    "tools": [{"name": "get", "description": "d", "input_schema": {"type": "object", "required": ["a", "b"]}}],
    "messages": [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes?"}]},
        {"role": "user", "content": [{"type": "text", "text": "Go", "cache_control": {"type": "ephemeral"}}]},
    ],
}


def of(
    request: dict[str, Any] = REQUEST, context: Context = CONTEXT, route: Any = ROUTE, secret: bytes = SECRET
) -> str:
    return fingerprint(secret, context, route, request)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything in a request: fields, blocks, and the values in them."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(leaf for key, below in inner for leaf in leaves(below, (*path, key)))]


PATHS = [path for path in leaves(REQUEST) if path and path != ("model",)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(PATHS), JSON)
@settings(deadline=None, max_examples=400)
def test_any_other_value_anywhere_changes_it(path: tuple[Any, ...], value: Any) -> None:
    changed = deepcopy(REQUEST)
    *above, last = path
    holder: Any = changed
    for key in above:
        holder = holder[key]
    assume(orjson.dumps(holder[last]) != orjson.dumps(value))
    assume(not (path == ("system",) and not value))  # all ways to say that there is none are one
    holder[last] = value
    assert (of(changed) == of()) == (canonical(changed) == canonical(REQUEST))
    assert of(changed) != of()


@given(st.sampled_from(PATHS))
@settings(deadline=None)
def test_anything_left_out_changes_it(path: tuple[Any, ...]) -> None:
    changed = deepcopy(REQUEST)
    *above, last = path
    holder: Any = changed
    for key in above:
        holder = holder[key]
    del holder[last]
    assert of(changed) != of()


@pytest.mark.parametrize("name", sorted(set(MessagesRequest.__annotations__) - VOLATILE - {"model"}))
@pytest.mark.covers("Prompt cache · the key counts everything that reaches the model")
def test_every_field_of_the_api_that_reaches_the_model_counts(name: str) -> None:
    first, second = {**REQUEST, name: ["one"]}, {**REQUEST, name: ["two"]}
    assert len({of(), of(first), of(second)}) == 3


@given(st.text(min_size=1), JSON)
@settings(deadline=None)
def test_unknown_field_changes_the_fingerprint(name: str, value: Any) -> None:
    assume(name not in MessagesRequest.__annotations__ and name not in VOLATILE and value is not None)
    assert of({**REQUEST, name: value}) != of()


@pytest.mark.parametrize("name", sorted(VOLATILE))
def test_who_asks_and_how_it_is_delivered_does_not_count(name: str) -> None:
    assert of({**REQUEST, name: "x"}) == of({**REQUEST, name: "y"}) == of()


def test_the_order_of_keys_does_not_count_that_of_lists_does() -> None:
    assert of(dict(reversed(REQUEST.items()))) == of()
    turned = {**REQUEST, "messages": REQUEST["messages"][::-1]}
    assert of(turned) != of()


def test_null_is_absent() -> None:
    assert of({**REQUEST, "top_k": None}) == of()


@pytest.mark.parametrize("rest", [[], [{"type": "text", "text": "Be brief."}]], ids=["alone", "before others"])
def test_the_billing_header_does_not_count(rest: list[Any]) -> None:
    billed = [
        {**REQUEST, "system": [{"type": "text", "text": f"{BILLING_HEADER}: cch={number};"}, *rest]} for number in "12"
    ]
    assert of(billed[0]) == of(billed[1]) == of({**REQUEST, "system": rest or None})


WHO = {
    "another tenant": replace(CONTEXT, tenant="other"),
    "another API version": replace(CONTEXT, api_version="2026-10-21"),
    "another beta": replace(CONTEXT, betas=frozenset({"a"})),
}


@pytest.mark.parametrize("name", WHO)
def test_who_asks_and_by_which_rules_counts(name: str) -> None:
    assert of(context=WHO[name]) != of()


def test_other_ids_of_the_same_tenant_do_not_count() -> None:
    other = replace(
        CONTEXT, request_id="req_2", key_id="k2", session_id="s", trace_parent="t", betas=frozenset({"a", "b"})
    )
    assert of(context=other) == of()


ROUTES = {
    "another model": replace(ROUTE, target=replace(ROUTE.target, model="openai/gpt-6")),
    "another upstream": replace(ROUTE, upstream=replace(ROUTE.upstream, name="other")),
    "another address": replace(ROUTE, upstream=replace(ROUTE.upstream, url="https://other.example/v1")),
    "another dialect": replace(ROUTE, dialect="messages"),
    "a model of which more is known": replace(ROUTE, target=replace(ROUTE.target, stop_limit=1)),
}


@pytest.mark.parametrize("name", ROUTES)
def test_where_it_goes_counts(name: str) -> None:
    assert of(route=ROUTES[name]) != of()


def test_the_name_that_was_asked_for_does_not_count() -> None:
    assert of({**REQUEST, "model": "big"}, route=replace(ROUTE, requested="big")) == of()


def test_without_the_secret_it_cannot_be_made_and_a_new_secret_makes_others() -> None:
    one, two = (to_secret(Keyring.parse(text)) for text in ("a:one", "b:two,a:one"))
    assert of(secret=one) != of(secret=two)
    assert b"one" not in one


def test_every_process_makes_the_same(tmp_path: Any) -> None:
    """A set in the facts about a model has another order in every process."""
    code = (
        "from gateway.cache.key import _described; from gateway.upstream.models.target import Target;"
        "print(_described(Target('m', unsupported=frozenset({'a', 'b', 'c', 'd', 'e'}))))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1
    assert Target("m", unsupported=frozenset("ab")) == Target("m", unsupported=frozenset("ba"))
