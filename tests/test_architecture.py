"""Every module of `gateway` and `workers` keeps the architecture; and the checker finds what it says it finds."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import get_args

import pytest

from gateway.upstream.models.target import Family
from gateway.upstream.vendors.registry import VENDORS
from tests.support.architecture import (
    CATCH_ALL_BOUNDARIES,
    LAYERS,
    Module,
    find_cycle,
    is_under,
    judge,
    read_modules,
    repeated_class_names,
    words,
)

ROOT = Path(__file__).parent.parent
MODULES = read_modules()


# One test for all modules: a case for each took ten times as long, most of it in pytest.
def test_every_module_keeps_its_place_and_its_budget() -> None:
    findings = [finding for module in MODULES.values() for finding in judge(module, frozenset(MODULES))]
    assert not findings, "\n" + "\n".join(findings)


def test_no_modules_import_one_another_in_a_circle() -> None:
    cycle = find_cycle(MODULES)
    assert cycle is None, f"{' → '.join(cycle or [])}: move what they share into a module below both"


def test_a_class_name_occurs_once() -> None:
    repeated = repeated_class_names(MODULES)
    assert not repeated, "name each after what it is, in the field's words:\n" + "\n".join(repeated)


def test_conversions_compare_nothing_with_the_name_of_a_vendor_or_family() -> None:
    """Facts of vendors and families are in `gateway.upstream`, and conversions ask for the fact."""
    names = {*VENDORS, *get_args(Family)} - {"other"}
    compared = {
        f"{name}:{node.lineno}"
        for name, module in MODULES.items()
        if name.startswith("gateway.dialects.")
        for node in module.nodes
        if isinstance(node, ast.Compare)
        if any(isinstance(part, ast.Constant) and part.value in names for part in ast.walk(node))
    }
    assert compared == set()


# Where names of vendors and clients belong: their rows and families, imports of other gateways' configurations, the
# simulated servers, and tables of words that servers use.
NAMING_ROOMS = (
    *("gateway.cli", "gateway.settings", "gateway.simulator", "gateway.telemetry.redaction"),
    *(
        "gateway.upstream.models.target",
        "gateway.upstream.vendors.registry",
        "gateway.upstream.vendors.hosted",
        "gateway.upstream.vendors.servers",
        "gateway.messages.tokens.profiles",
    ),
    *("gateway.dialects.chat.vocabulary", "gateway.dialects.chat.response.errors.error_body"),
    "gateway.dialects.chat.response.calls.call_markup",
    "gateway.dialects.chat.response.calls.element_markup",
    *("gateway.dialects.chat.response.errors.client_error", "gateway.dialects.chat.response.errors.failure_words"),
    "gateway.web.api.client_setup",
)
# Paths that a client asks for by its name.
PATHS_OF_CLIENTS = ("/.well-known/opencode",)
NAMED = re.compile(
    r"(?i)(?<![a-z])(?:azure|bedrock|cerebras|deepseek|fireworks|gemini|groq|litellm|llama|lm_?studio|minimax|mistral|"
    r"moonshot|ollama|qwen|sglang|vllm|xai|zai|zhipu|aider|cline|codex|continue_cli|goose|kilo|opencode|roo)(?![a-z])"
)


def test_no_vendor_and_no_client_is_named_in_code_outside_its_room() -> None:
    """Comments and docstrings may name them, where they give the reason for something."""
    named = {
        f"{name}:{node.lineno}: {text[:60]}"
        for name, module in MODULES.items()
        if is_under(name, "gateway") and not any(is_under(name, room) for room in NAMING_ROOMS)
        for node, text in words_of_code(module)
        if NAMED.search(text) and text not in PATHS_OF_CLIENTS
    }
    assert named == set(), "make it a fact of the vendor's row, or of the client's request"


def words_of_code(module: Module) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Yield names and texts, without docstrings."""
    if not NAMED.search(module.source):
        return
    docstrings = {id(node.value) for node in module.nodes if isinstance(node, ast.Expr)}
    for node in module.nodes:
        if id(node) in docstrings:
            continue
        match node:
            case ast.Constant(value=str() | bytes() as text):
                yield node, text if isinstance(text, str) else text.decode("latin-1")
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield node, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node, name


def test_names_in_code_are_found_and_those_in_docstrings_are_not() -> None:
    module = Module.of(
        "gateway.ids", '"""For vLLM."""\nGROQ_LIMIT = 5\ndef f():\n    """Of Codex."""\n    return b"ollama"\n'
    )
    assert [text for _, text in words_of_code(module) if NAMED.search(text)] == ["GROQ_LIMIT", "ollama"]


def test_the_source_was_found() -> None:
    assert {"gateway", "gateway.errors", "gateway.upstream.http.client"} <= MODULES.keys()


def test_every_room_lies_in_one_layer_only() -> None:
    rooms = [room for layer in LAYERS for room in layer.rooms]
    assert len(rooms) == len(set(rooms))


# The checker, on sources small enough to see the fault.

WORLD = words("""
    gateway gateway.app gateway.cache gateway.cache.key gateway.cache.store gateway.cli gateway.messages
    gateway.messages.fold gateway.errors gateway.exchange gateway.exchange.exchange gateway.ids gateway.redis
    gateway.process gateway.telemetry gateway.telemetry.metrics gateway.schemas gateway.web.api
    gateway.schemas.anthropic gateway.simulator gateway.simulator.server gateway.simulator.shapes gateway.process.tasks
    gateway.upstream gateway.upstream.health gateway.upstream.health.retry gateway.upstream.http
    gateway.upstream.http.http_client gateway.web gateway.web.middleware gateway.web.api.messages
    workers workers.execute workers.worker
""")

HEADER = '"""A module."""\n'


def findings_of(name: str, source: str, *, is_package: bool = False) -> list[str]:
    return judge(Module.of(name, HEADER + dedent(source), is_package=is_package), WORLD)


def function_of(lines: int, *, docstring: str = "") -> str:
    return "def run(item):\n" + docstring + "    item.go()\n" * (lines - 1)


ACCEPTED_IMPORTS = {
    "a front door may import the exchange": (
        "gateway.web.api.messages",
        "from gateway.exchange.exchange import Exchange",
    ),
    "IO rooms may import one another": ("gateway.cache.store", "from gateway.redis import connect"),
    "modules of one door may import one another": ("gateway.web.api.messages", "import gateway.web.middleware"),
    "a worker may import the exchange": ("workers.execute", "from gateway.exchange.exchange import Exchange"),
    "pure code may import pure code": ("gateway.cache.key", "from gateway.schemas import anthropic"),
    "pure code may compute": ("gateway.cache.key", "import hashlib, hmac, orjson"),
    "IO code may import its pure half": ("gateway.cache.store", "from gateway.cache.key import fingerprint"),
    "IO code may import the clock": ("gateway.ids", "import time"),
}

REJECTED_IMPORTS = {
    "conversion imports IO": ("gateway.messages.fold", "import gateway.telemetry.metrics", "which does IO"),
    "IO imports the exchange": ("gateway.cache.store", "from gateway import exchange", "lies above it"),
    "the ground imports conversion": ("gateway.errors", "import gateway.messages.fold", "lies above it"),
    "a pure half imports its IO half": ("gateway.cache.key", "from gateway.cache import store", "lies above it"),
    "the simulator imports the gateway's door": ("gateway.simulator.server", "import gateway.web", "neighbour"),
    "the app imports a worker": ("gateway.app", "import workers.worker", "run `python -m workers`"),
    "a command imports a worker": ("gateway.cli", "from workers import worker", "run `python -m workers`"),
    "a worker imports the web": ("workers.worker", "from gateway.web import middleware", "no HTTP in"),
    "a worker imports the app": ("workers.worker", "from gateway.app import build", "a separate process"),
    "a worker imports the simulator": ("workers.worker", "import gateway.simulator", "over HTTP"),
    "a room has no layer": ("gateway.helpers", "", "has no layer"),
    "a folder has no __init__": ("gateway.access.policy", "", "without __init__.py"),
    "pure code imports asyncio": ("gateway.messages.fold", "import asyncio", "asyncio in pure code"),
    "pure code imports a part of os": ("gateway.errors", "from os.path import join", "os in pure code"),
    "pure code imports chance": ("gateway.upstream.health.retry", "from random import random", "random in pure code"),
    "pure code imports a logger": ("gateway.simulator.shapes", "import structlog as s", "structlog in pure code"),
    "an import inside a function": ("gateway.ids", "async def run():\n    import json", "inside a function"),
    "an import inside a method": (
        "gateway.ids",
        """
        class Ids:
            def make(self):
                if self:
                    from json import dumps
        """,
        "inside a function",
    ),
    "an import for types only": (
        "gateway.messages.fold",
        """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from gateway.telemetry.metrics import Metrics
        """,
        "which does IO",
    ),
    "pure code asks for the time": (
        "gateway.cache.key",
        """
        import datetime
        start = datetime.datetime.now(datetime.UTC)
        """,
        "reads the clock",
    ),
    "pure code opens a file": ("gateway.messages.fold", "text = open('vocabulary')", "opens a file"),
}

ACCEPTED_CODE = {
    "named errors are caught": (
        "gateway.ids",
        """
        from contextlib import suppress
        try:
            go()
        except (KeyError, OSError):
            pass
        with suppress(OSError):
            go()
        """,
    ),
    "the error middleware catches everything once": (
        "gateway.web.middleware",
        """
        try:
            go()
        except Exception:
            pass
        """,
    ),
    "a task is kept in a field": (
        "gateway.process.tasks",
        """
        class Loop:
            def start(self):
                self.task = asyncio.create_task(go())
        """,
    ),
    "a task is kept in a collection": ("gateway.process.tasks", "held.add(asyncio.create_task(go()))"),
    "a task is awaited on the spot": ("gateway.process.tasks", "async def run():\n    await asyncio.create_task(go())"),
    "a TaskGroup that was opened owns the task": (
        "gateway.process.tasks",
        """
        async def run():
            async with asyncio.TaskGroup() as group:
                group.create_task(go())
        """,
    ),
    "a TaskGroup that was passed in owns the task": (
        "gateway.process.tasks",
        """
        def start(group: asyncio.TaskGroup):
            group.create_task(go())
        """,
    ),
    "a TaskGroup in a field owns the task": (
        "gateway.process.tasks",
        """
        class Loop:
            def __init__(self):
                self.group = asyncio.TaskGroup()
            def start(self):
                self.group.create_task(go())
        """,
    ),
    "a TaskGroup in a dataclass owns the task": (
        "gateway.process.tasks",
        """
        @dataclass
        class Loop:
            group: asyncio.TaskGroup
            def start(self):
                self.group.create_task(go())
        """,
    ),
    "a function of forty lines": ("gateway.ids", function_of(40)),
    "a docstring does not count as length": ("gateway.ids", function_of(40, docstring='    """Says\n    more."""\n')),
    "a module of four hundred lines": ("gateway.ids", "go()\n" * 399),
    "a wire schema may be longer": ("gateway.schemas.anthropic", "go()\n" * 900),
    "three blocks inside one another": (
        "gateway.ids",
        """
        def run(items):
            for item in items:
                with item:
                    if item:
                        go()
        """,
    ),
    "a chain of elif is flat": (
        "gateway.ids",
        """
        def run(item):
            if item == 1:
                go()
            elif item == 2:
                go()
            elif item == 3:
                go()
            elif item == 4:
                go()
            else:
                go()
        """,
    ),
    "a function inside a function counts its own blocks": (
        "gateway.ids",
        """
        def run(items):
            for item in items:
                if item:
                    def inner():
                        while item:
                            with item:
                                go()
        """,
    ),
}

REJECTED_CODE = {
    "a private name of aiohttp": (
        "gateway.web.middleware",
        "from aiohttp import web\ndef run(app: web.Application):\n    app._handle()",
        "uses _handle of aiohttp.web.Application",
    ),
    "a bare except": ("gateway.ids", "try:\n    go()\nexcept:\n    pass", "catches everything"),
    "except Exception": ("gateway.ids", "try:\n    go()\nexcept Exception as e:\n    raise", "catches everything"),
    "except BaseException": ("gateway.ids", "try:\n    go()\nexcept BaseException:\n    raise", "catches everything"),
    "Exception among others": ("gateway.ids", "try:\n    go()\nexcept (A, Exception):\n    pass", "catches everything"),
    "except* Exception": ("gateway.ids", "try:\n    go()\nexcept* Exception:\n    pass", "catches everything"),
    "builtins.Exception": ("gateway.ids", "try:\n    go()\nexcept builtins.Exception:\n    pass", "catches everything"),
    "everything suppressed": ("gateway.ids", "with contextlib.suppress(Exception):\n    go()", "catches everything"),
    "a second catch-all at a boundary": (
        "workers.execute",
        """
        try:
            go()
        except Exception:
            pass
        try:
            go()
        except Exception:
            pass
        """,
        "workers.execute:9 catches everything",
    ),
    "a task that nobody holds": ("gateway.process.tasks", "asyncio.create_task(go())", "drops the task"),
    "a task of an imported create_task": ("gateway.process.tasks", "create_task(go())", "drops the task"),
    "a task of the loop": ("gateway.process.tasks", "asyncio.get_running_loop().create_task(go())", "drops the task"),
    "a task thrown into the underscore": ("gateway.process.tasks", "_ = asyncio.ensure_future(go())", "drops the task"),
    "a task with only a callback": (
        "gateway.process.tasks",
        "asyncio.create_task(go()).add_done_callback(print)",
        "drops the task",
    ),
    "a function of forty-one lines": ("gateway.ids", function_of(41), "run is 41 lines long"),
    "a method of forty-one lines": (
        "gateway.ids",
        "class Ids:\n    " + function_of(41).replace("\n", "\n    "),
        "run is 41 lines long",
    ),
    "a module of four hundred and one lines": ("gateway.ids", "go()\n" * 400, "is 401 lines long"),
    "four blocks inside one another": (
        "gateway.ids",
        """
        def run(items):
            for item in items:
                while item:
                    with item:
                        if item:
                            go()
        """,
        "run nests 4 deep",
    ),
    "an else that holds an if is deeper": (
        "gateway.ids",
        """
        def run(item):
            if item:
                go()
            else:
                if item.a:
                    go()
                else:
                    if item.b:
                        go()
                    else:
                        if item.c:
                            go()
        """,
        "run nests 4 deep",
    ),
    "blocks in an except, a case and an async loop": (
        "gateway.ids",
        """
        async def run(items):
            try:
                go()
            except OSError:
                match items:
                    case 1:
                        async for item in items:
                            async with item:
                                go()
        """,
        "run nests 4 deep",
    ),
    "blocks in the end of a chain of elif": (
        "gateway.ids",
        """
        def run(item):
            if item == 1:
                go()
            elif item == 2:
                try:
                    go()
                finally:
                    try:
                        go()
                    except* OSError:
                        if item:
                            go()
        """,
        "run nests 4 deep",
    ),
}

ACCEPTED = ACCEPTED_IMPORTS | ACCEPTED_CODE
REJECTED = REJECTED_IMPORTS | REJECTED_CODE


@pytest.mark.parametrize(("name", "source"), ACCEPTED.values(), ids=ACCEPTED)
def test_the_checker_accepts(name: str, source: str) -> None:
    assert findings_of(name, source) == []


@pytest.mark.parametrize(("name", "source", "complaint"), REJECTED.values(), ids=REJECTED)
def test_the_checker_rejects(name: str, source: str, complaint: str) -> None:
    (finding,) = findings_of(name, source)
    assert complaint in finding


def test_the_checker_rejects_an_init_that_would_load_io_with_a_pure_half() -> None:
    (finding,) = findings_of("gateway.upstream", "import gateway.upstream.http.http_client", is_package=True)
    assert "above a pure module" in finding


def test_the_checker_accepts_an_init_that_imports_io_where_nothing_is_pure() -> None:
    assert findings_of("gateway.web", "import asyncio, gateway.web.api.messages", is_package=True) == []


def test_the_checker_rejects_a_module_without_a_header() -> None:
    (finding,) = judge(Module.of("gateway.ids", "import json"), WORLD)
    assert "has no module docstring" in finding


@pytest.mark.parametrize("name", CATCH_ALL_BOUNDARIES)
def test_a_boundary_has_a_layer_like_any_module(name: str) -> None:
    assert findings_of(name, "") == []


def test_the_checker_finds_a_circle_over_three_modules() -> None:
    sources = {
        "gateway.cache": "from gateway.redis import connect",
        "gateway.redis": "import gateway.upstream",
        "gateway.upstream": "from gateway import cache, errors",
        "gateway.errors": "",
    }
    cycle = find_cycle({name: Module.of(name, source) for name, source in sources.items()}) or []
    assert set(pairwise(cycle)) == {
        ("gateway.cache", "gateway.redis"),
        ("gateway.redis", "gateway.upstream"),
        ("gateway.upstream", "gateway.cache"),
    }


def test_the_checker_finds_no_circle_where_two_import_the_same() -> None:
    sources = {"gateway.cache": "import gateway.redis, gateway.ids", "gateway.redis": "import gateway.ids"}
    assert find_cycle({name: Module.of(name, source) for name, source in sources.items()}) is None


def test_the_checker_finds_a_class_name_used_twice_in_two_modules_or_inside_a_function() -> None:
    sources = {
        "gateway.cache": "class Limits: ...\nclass Store: ...",
        "gateway.redis": "class Server: ...\ndef run():\n    class Limits: ...",
    }
    modules = {name: Module.of(name, source) for name, source in sources.items()}
    assert repeated_class_names(modules) == ["Limits: gateway.cache:1, gateway.redis:3"]
