"""No repr shows a key, a header, a prompt or an answer: Python prints reprs unasked.

A callback that raises, a coroutine that is not awaited, a debugger: each prints the reprs of its objects, which print
their fields in turn. So each field of each class with a generated repr is judged by its type and its name.
"""

import collections.abc
import dataclasses
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import AnyUrl, BaseModel

import gateway
import workers
from gateway.batches.server import BatchServer
from gateway.cache.key import to_secret
from gateway.cache.policy import CachePolicy
from gateway.exchange.cached import CachedExchange
from gateway.redis.connections import queue_client
from gateway.redis.server import RedisServer
from gateway.settings import load_settings
from gateway.upstream.http.client import Call
from gateway.wiring import build_cache_store, build_client, build_exchange, load_keyring
from tests.support.architecture import words
from workers.wiring import build_worker

PACKAGES = (gateway, workers)

# Text that is a secret, a prompt, an answer or a client's own name for something, of any type.
TELLING_NAMES = words("""
    api_key args arguments authorization body citations content custom_id custom_ids data details encrypted_index
    environment example examples fields fragments headers idempotency_key json key keys line matched message messages
    parameters params payload pieces plain prefix prompt proxy query quoted raw refusal results says schema secret
    sequence steps stop_sequences sent_stop_sequences stopped_at text texts title tool tool_names toolsets turns url
""")
# Named so, and none of it.
HARMLESS = frozenset(
    {
        ("gateway.cache.policy.CachePolicy", "keys"),  # tenants, and ids of client keys
        ("gateway.settings.effective.Setting", "value"),  # redacted by then
        ("gateway.cli.probes.Finding", "text"),
        ("gateway.settings.load.Problem", "line"),
        ("gateway.settings.settings.Settings", "aliases"),
        ("gateway.settings.settings.Settings", "app_url"),
        ("gateway.simulator.failures.Failure", "message"),
        ("gateway.simulator.models.Model", "example"),
        ("gateway.simulator.models.Model", "says"),
        ("gateway.upstream.models.target.Target", "parameters"),  # names only, as in the table of vendors
        ("gateway.upstream.models.target.Target", "renamed"),
        ("gateway.upstream.vendors.vendor.Vendor", "marks"),
        ("gateway.upstream.vendors.vendor.Vendor", "parameters"),
        ("gateway.upstream.vendors.vendor.Vendor", "renamed"),
        ("gateway.upstream.vendors.vendor.Vendor", "title"),
    }
)


def classes() -> Iterator[tuple[str, type]]:
    for package in PACKAGES:
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            module = importlib.import_module(found.name)
            for value in vars(module).values():
                if inspect.isclass(value) and value.__module__ == module.__name__:
                    yield f"{value.__module__}.{value.__qualname__}", value


CLASSES = dict(classes())


def shown_fields(kind: type) -> Iterator[tuple[str, Any]]:
    """Name and type of the fields that the class's repr shows."""
    if dataclasses.is_dataclass(kind):
        if kind.__repr__ is not object.__repr__:
            hints = typing.get_type_hints(kind)
            yield from ((field.name, hints[field.name]) for field in dataclasses.fields(kind) if field.repr)
    elif issubclass(kind, BaseModel):
        yield from ((name, field.annotation) for name, field in kind.model_fields.items() if field.repr)
    elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
        yield from typing.get_type_hints(kind).items()


def parts_of(annotation: Any) -> Iterator[Any]:
    """The types that a type is made of."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal or origin is collections.abc.Callable:
        return
    arguments = typing.get_args(annotation)
    if not arguments:
        yield annotation
    for argument in arguments:
        if argument is not Ellipsis and not isinstance(argument, typing.TypeVar):
            yield from parts_of(argument)


def tells(part: Any) -> bool:
    """Whether a value of this type shows what it holds, beyond a word."""
    if part is Any or part in (bytes, bytearray, memoryview, object) or typing.is_typeddict(part):
        return True
    return inspect.isclass(part) and part.__module__ != "builtins" and issubclass(part, list | dict | set | str)


def is_pairs(annotation: Any) -> bool:
    """Headers, or keys by tenant."""
    inner = [argument for argument in typing.get_args(annotation) if argument is not Ellipsis]
    return typing.get_origin(annotation) is tuple and any(typing.get_args(one) == (str, str) for one in inner)


def is_telling(name: str, annotation: Any) -> bool:
    parts = list(parts_of(annotation))
    named = name.strip("_") in TELLING_NAMES or name.endswith("_url")
    named = named and any(part is Any or (inspect.isclass(part) and issubclass(part, str | AnyUrl)) for part in parts)
    return named or any(map(tells, parts)) or is_pairs(annotation)


def telling_fields(classes: Mapping[str, type]) -> list[tuple[str, str]]:
    """Return class and name of each field that a repr shows and should not."""
    return [
        (name, field)
        for name, kind in classes.items()
        for field, annotation in shown_fields(kind)
        if is_telling(field, annotation) and (name, field) not in HARMLESS
    ]


def test_no_repr_shows_a_telling_field() -> None:
    assert telling_fields(CLASSES) == [], "declare them with field(repr=False)"


def test_a_field_that_would_show_a_key_or_a_prompt_is_found() -> None:
    @dataclasses.dataclass
    class Telling:
        tenant: str
        api_key: str
        body: bytes = dataclasses.field(repr=False)
        prompt: dict[str, Any]

    assert telling_fields({"Telling": Telling}) == [("Telling", "api_key"), ("Telling", "prompt")]


def test_exceptions_to_the_rule_are_fields_that_exist() -> None:
    shown = {(name, field) for name, kind in CLASSES.items() for field, _ in shown_fields(kind)}
    assert HARMLESS - shown == set()


def test_no_class_writes_a_repr_by_hand() -> None:
    """One would have to be looked at by itself."""
    generated = {name for name, kind in CLASSES.items() if dataclasses.is_dataclass(kind) or issubclass(kind, tuple)}
    assert {name for name, kind in CLASSES.items() if "__repr__" in vars(kind)} - generated == set()


async def test_nothing_that_is_built_from_the_settings_shows_a_secret() -> None:
    """The whole graph of a front end's and a worker's objects, as a traceback of a callback would print it."""
    settings = load_settings(
        upstream_api_key="upstream-canary",
        keys="tenant:client-canary",
        admin_key="admin-canary",
        secret="k1:secret-canary",
        redis_url="redis://user:redis-canary@127.0.0.1:1/0",
        cache_redis_url="redis://user:cache-canary@127.0.0.1:1/0",
    )
    keyring = await load_keyring(settings, None)
    exchange = build_exchange(settings, build_client(settings, 1), keyring)
    queue = queue_client(str(settings.redis_url))
    worker, loops = build_worker(BatchServer(RedisServer(queue)), exchange, 1, 60.0)
    cache = CachedExchange(exchange, build_cache_store(settings, queue), CachePolicy(), to_secret(keyring))
    call = partial(
        exchange.client.open, Call("POST", "url-canary", exchange.table.upstreams[0].headers, b"body-canary")
    )
    shown = repr([settings, str(settings), keyring, exchange, worker, worker.run, loops, cache, call])
    assert "canary" not in shown
    assert "Worker(" in shown
    await exchange.client.close()
