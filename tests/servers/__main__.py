"""`python -m tests.servers`: real servers with the scripted model.

    list                              the servers, and what of them is installed
    start NAME --port N [options]     run one until Ctrl-C; prints a line when it answers
    run [NAME ...]                    `make servers`: install and test all of them, one after another

The last user text of a request selects the answer by a mark such as #tool, #think or #long: model/scripts.py.
"""

import argparse
import signal
import sys
from contextlib import suppress
from typing import Any

from tests.servers.environment import InstallError
from tests.servers.registry import SERVERS
from tests.servers.report import run_all, say
from tests.servers.running import StartError, running


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.servers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    start = commands.add_parser("start")
    start.add_argument("name", choices=SERVERS)
    start.add_argument("--port", type=int, required=True)
    start.add_argument("--context", type=int, help="tokens of context, for each slot (8192)")
    start.add_argument("--slots", type=int, help="requests at a time (2; llama-cpp)")
    start.add_argument("--pooled", action="store_true", help="one context for all slots (llama-cpp)")
    start.add_argument("--lenient", action="store_true", help="a chat template that takes system messages anywhere")
    start.add_argument("--plain", action="store_true", help="without parsers for tools and reasoning (vllm)")
    start.add_argument("--key", help="the key that clients must send")
    start.add_argument(
        "--behind", help="base URL that the proxy forwards to (litellm; otherwise a llama-cpp is started)"
    )
    start.add_argument("extra", nargs="*", help="after `--`: arguments for the server itself")
    run = commands.add_parser("run")
    run.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SERVERS))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that a SIGTERM ends the servers too
    try:
        COMMANDS[arguments.command](arguments)
    except (StartError, InstallError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def show(_: argparse.Namespace) -> None:
    for server in SERVERS.values():
        if server.environment is None:
            state = server.missing or "in the project's own environment"
        else:
            state = "installed" if server.environment.is_installed else "not installed"
        say(f"{server.name:18}{server.title:52}{state}")


def start(arguments: argparse.Namespace) -> None:
    options: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in ("context", "slots", "pooled", "lenient", "key", "behind")
        if getattr(arguments, name)
    }
    if arguments.plain:
        options["parsers"] = False
    if arguments.extra:
        options["extra"] = tuple(arguments.extra)
    with running(arguments.name, port=arguments.port, **options) as server, suppress(KeyboardInterrupt):
        say(f"ready {server.api} model {server.model} key {server.key} log {server.log}")
        assert server.process is not None
        server.process.wait()


def run(arguments: argparse.Namespace) -> None:
    sys.exit(run_all(arguments.names or list(SERVERS)))


COMMANDS = {"list": show, "start": start, "run": run}


if __name__ == "__main__":
    main()
