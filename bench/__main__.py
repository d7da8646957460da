"""python -m bench [compare|batches|cache|consoles|limits|streams|sweep|instructions|plots|show] [options]; or else
compare."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from bench import batches, cache, consoles, instructions, limits, plots, report, results, servers, streams, sweep
from bench.cases import CASES
from bench.compare import Options, compare
from bench.peers import PEERS, peer_recipes
from bench.programs import CompilerError
from bench.targets import BARE, DIRECT, Recipe, StartError, gateway_recipe, nginx_recipe, routed_recipe

COMMANDS = (
    *("compare", "batches", "cache", "consoles", "limits", "servers", "streams", "sweep"),
    *("instructions", "plots", "show"),
)
TARGETS = (
    "gateway",
    "native",
    "chat",
    "routed",
    "quiet",
    "small_pages",
    "unstreamed",
    "bare",
    "nginx",
    "direct",
    *PEERS,
)
DEFAULT_TARGETS = "gateway,native,chat,bare,nginx,direct,quiet"
PLOTS = Path("docs/performance")


def main(arguments: Sequence[str]) -> int:
    named = arguments and arguments[0] in (*COMMANDS, "-h", "--help")
    options = _parser().parse_args(arguments if named else ["compare", *arguments])
    try:
        status: int = options.run(options)
    except (CompilerError, StartError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure the gateway side by side with others."
    )
    commands = parser.add_subparsers(required=True, metavar="|".join(COMMANDS))

    one = commands.add_parser("compare", help="cost per request and per delta, and the goals (the default)")
    one.set_defaults(run=_compare)
    _add_targets(one, DEFAULT_TARGETS)
    one.add_argument("--cases", default=",".join(CASES), help="comma-separated; default: all of %(default)s")
    one.add_argument("--rounds", type=int, default=3, help="3 by default; 7 for figures to be quoted")
    one.add_argument("--secs", type=float, default=2.0, help="counted seconds of each case (2)")
    one.add_argument("--quick", action="store_true", help="one round of one second: does it work at all?")
    one.add_argument("--goals", action="store_true", help="exit with 1 where a must is missed or an answer was bad")

    bulk = commands.add_parser("batches", help="creating, draining and reading batches, and who suffers meanwhile")
    bulk.set_defaults(run=_batches)
    bulk.add_argument("--cases", default=",".join(batches.CASES), help="comma-separated; default: all of %(default)s")
    bulk.add_argument("--quick", action="store_true", help="one item in fifty, and no goals: does it work at all?")
    bulk.add_argument("--goals", action="store_true", help="exit with 1 where a goal is missed")

    equal = commands.add_parser("cache", help="the prompt cache: a hit beside a miss, no cache and bare forwarding")
    equal.set_defaults(run=_cache)
    equal.add_argument("--rounds", type=int, default=3, help="3 by default; 7 for figures to be quoted")
    equal.add_argument("--secs", type=float, default=2.0, help="counted seconds of each load (2)")

    open_pages = commands.add_parser("consoles", help="the CPU that five open consoles take")
    open_pages.set_defaults(run=_consoles)
    open_pages.add_argument("--rounds", type=int, default=3, help="3 by default")
    open_pages.add_argument("--secs", type=float, default=15.0, help="counted seconds of each (15)")
    open_pages.add_argument("--goals", action="store_true", help="exit with 1 where the goal is missed")

    admission = commands.add_parser("limits", help="what limits and a budget of a key cost, beside a Redis")
    admission.set_defaults(run=_limits)
    admission.add_argument("--goals", action="store_true", help="exit with 1 where the goal is missed")

    bare_servers = commands.add_parser(
        "servers", help="instructions of aiohttp's server, and of the least possible one"
    )
    bare_servers.set_defaults(run=_servers)

    many = commands.add_parser(
        "streams", help="thousands of streams at once: isolation, memory, and what is left after"
    )
    many.set_defaults(run=_streams)
    _add_targets(many, "gateway")
    many.add_argument("--streams", type=int, default=10_000)

    over = commands.add_parser("sweep", help="figures over request sizes, streams and connections")
    over.set_defaults(run=_sweep)
    _add_targets(over, "gateway,bare")
    over.add_argument("--over", default=",".join(sweep.SWEEPS), help="comma-separated; default: %(default)s")
    over.add_argument("--most", type=int, default=None, help="leave out what is larger than this")
    over.add_argument("--rounds", type=int, default=1)
    over.add_argument("--secs", type=float, default=2.0)

    counted = commands.add_parser("instructions", help="machine instructions, which do not depend on who else computes")
    counted.set_defaults(run=_instructions)
    _add_targets(counted, "gateway,routed,native,bare")
    cases = ",".join(instructions.REQUESTS)
    counted.add_argument("--cases", default=cases, help="comma-separated; default: all of %(default)s")

    drawn = commands.add_parser("plots", help="draw a stored sweep as SVG")
    drawn.set_defaults(run=_plots)
    drawn.add_argument("file", nargs="?", type=Path, help="default: the newest")
    drawn.add_argument("--out", type=Path, default=PLOTS, help="directory (%(default)s)")

    show = commands.add_parser("show", help="print the tables of a stored comparison")
    show.set_defaults(run=_show)
    show.add_argument("file", nargs="?", type=Path, help="default: the newest")
    return parser


def _add_targets(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--targets", default=default, help=f"comma-separated, of {', '.join(TARGETS)}; default: %(default)s"
    )
    parser.add_argument("--peers", type=Path, help="directory with installed peers; all found are measured too")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="a setting of the gateway")


def _recipes(options: argparse.Namespace) -> list[Recipe]:
    """Return the targets in the requested order. Exits for an unknown name. A missing nginx is skipped by default."""
    settings = dict(setting.split("=", 1) for setting in options.env)
    nginx = nginx_recipe()
    peers = {recipe.name: recipe for recipe in peer_recipes(options.peers)} if options.peers else {}
    known = {
        "gateway": gateway_recipe(**settings),
        "native": gateway_recipe("native", **settings, GATEWAY_DIALECT="messages"),
        "routed": routed_recipe(**settings),
        "chat": replace(gateway_recipe("chat", **settings), speaks_chat=True),
        "quiet": gateway_recipe("quiet", "bench.quiet", **settings),
        "small_pages": gateway_recipe("small_pages", "bench.small_pages", **settings),
        "unstreamed": gateway_recipe("unstreamed", "bench.unstreamed", **settings),
        "bare": BARE,
        "direct": DIRECT,
        **({"nginx": nginx} if nginx else {}),
        **peers,
    }
    names = options.targets.split(",")
    for name in names:
        if name not in known and (name != "nginx" or options.targets != DEFAULT_TARGETS):
            sys.exit(f"bench: no target {name!r} here: {', '.join(known)}")
    return [known[name] for name in dict.fromkeys([*names, *peers]) if name in known]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _compare(options: argparse.Namespace) -> int:
    cases = options.cases.split(",")
    for case in cases:
        if case not in CASES:
            sys.exit(f"bench: no case {case!r}: {', '.join(CASES)}")
    rounds, seconds = (1, 1.0) if options.quick else (options.rounds, options.secs)
    comparison = compare(_recipes(options), Options(cases, rounds, seconds), _say)
    path = results.store(comparison)
    print(report.render(comparison))
    print(f"\nraw figures: {path}")
    return 1 if options.goals and not report.passed(comparison) else 0


def _batches(options: argparse.Namespace) -> int:
    cases = options.cases.split(",")
    for case in cases:
        if case not in batches.CASES:
            sys.exit(f"bench: no case {case!r}: {', '.join(batches.CASES)}")
    measured = batches.measure(cases, 0.02 if options.quick else 1, _say)
    path = results.store_json("batches", measured.machine, asdict(measured))
    print(batches.render(measured))
    print(f"\nraw figures: {path}")
    return 1 if options.goals and not measured.passed else 0


def _instructions(options: argparse.Namespace) -> int:
    cases = options.cases.split(",")
    for case in cases:
        if case not in instructions.REQUESTS:
            sys.exit(f"bench: no case {case!r}: {', '.join(instructions.REQUESTS)}")
    counted = instructions.measure(_recipes(options), cases, _say)
    path = results.store_json("instructions", counted.machine, asdict(counted))
    print(instructions.render(counted))
    print(f"\nraw figures: {path}")
    return 0


def _cache(options: argparse.Namespace) -> int:
    costs = cache.measure(options.rounds, options.secs, _say)
    path = results.store_json("cache", costs.machine, asdict(costs))
    print(cache.render(costs))
    print(f"\nraw figures: {path}")
    faults = cache.faults(costs)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def _consoles(options: argparse.Namespace) -> int:
    costs = consoles.measure(options.rounds, options.secs, _say)
    path = results.store_json("consoles", costs.machine, asdict(costs))
    print(consoles.render(costs))
    print(f"\nraw figures: {path}")
    return 1 if options.goals and costs.cost > consoles.GOAL else 0


def _servers(_: argparse.Namespace) -> int:
    costs = servers.measure(_say)
    path = results.store_json("servers", costs.machine, asdict(costs))
    print(servers.render(costs))
    print(f"\nraw figures: {path}")
    return 0


def _limits(options: argparse.Namespace) -> int:
    costs = limits.measure(_say)
    path = results.store_json("limits", costs.machine, asdict(costs))
    print(limits.render(costs))
    print(f"\nraw figures: {path}")
    return 1 if options.goals and costs.cost > limits.GOAL else 0


def _streams(options: argparse.Namespace) -> int:
    sound = True
    for recipe in _recipes(options):
        found = streams.hold(recipe, options.streams, _say)
        print(streams.render(found))
        results.store_json("streams", found.machine, asdict(found))
        sound = sound and not found.faults
    return 0 if sound else 1


def _sweep(options: argparse.Namespace) -> int:
    names = options.over.split(",")
    for name in names:
        if name not in sweep.SWEEPS:
            sys.exit(f"bench: nothing to sweep over called {name!r}: {', '.join(sweep.SWEEPS)}")
    found = sweep.sweep(_recipes(options), sweep.Extent(names, options.rounds, options.secs, options.most), _say)
    print(f"raw figures: {results.store_json('sweep', found.machine, asdict(found))}")
    return 0


def _plots(options: argparse.Namespace) -> int:
    for path in plots.draw(sweep.read(options.file or results.latest("sweep")), options.out):
        print(path)
    return 0


def _show(options: argparse.Namespace) -> int:
    print(report.render(results.read(options.file or results.latest("compare"))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
