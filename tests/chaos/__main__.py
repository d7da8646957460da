"""`python -m tests.chaos`: faults at real processes, and the invariants after each. Prints the seed of every run.

Runs on Debian's redis-server where it is on the PATH, and on the Valkey of the wheel, in about half an hour; ten times
as long with `--full`.
"""

import argparse
import asyncio
import logging
import os
import random
import signal
import sys
import time

import structlog

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.processes import Server, find_faketime, find_servers, takes_faketime
from tests.chaos.upstream import Upstream
from tests.chaos.world import Violation, World

FULL_SCALE = 10


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--full", action="store_true", help=f"{FULL_SCALE} times as many items and faults")
    parser.add_argument("--fault", action="append", choices=[fault.number for fault in FAULTS], help="only this one")
    parser.add_argument("--server", help="only servers whose name contains this: redis, valkey")
    parser.add_argument("--seed", type=int, help="of the first run; the next ones count up")
    arguments = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("GATEWAY_", "OPENROUTER_", "PROMETHEUS_"))]:
        del os.environ[name]
    # Log lines of this process would hide the results.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    sys.exit(asyncio.run(run_all(arguments)))


async def run_all(arguments: argparse.Namespace) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # as Ctrl-C, which ends the processes
    servers = await find_servers()
    if not any("redis" in name.lower() for name in servers):
        say("redis-server is not on the PATH (Debian: apt install redis-server): only the wheel's Valkey is tried")
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    chosen = [name for name in servers if not arguments.server or arguments.server.lower() in name.lower()]
    failed = 0
    for fault in FAULTS:
        if arguments.fault and fault.number not in arguments.fault:
            continue
        if fault.wrong_clock and find_faketime() is None:
            say(f"{fault.number:>7} {fault.says} is not tried: it needs libfaketime (Debian: apt install libfaketime)")
            continue
        for name in chosen[:1] if fault.once else chosen:
            if fault.wrong_clock and not await takes_faketime(servers[name]):
                say(f"{fault.number:>9} {fault.says} is not tried on {name}: libfaketime does not work with jemalloc")
                continue
            for fsync in fault.fsync:
                server = Server(servers[name], fsync, wrong_clock=fault.wrong_clock)
                failed += not await run(fault, f"{name} {fsync}", server, seed, arguments.full)
                seed += 1
    say(f"{failed} failed" if failed else "all invariants held")
    return 1 if failed else 0


async def run(fault: Fault, where: str, server: Server, seed: int, full: bool) -> bool:
    chance = random.Random(seed)
    upstream = Upstream(chance)
    begun = time.monotonic()
    await server.start()
    await upstream.start()
    world = World(server, upstream, chance, fault.lease, fault.slots)
    try:
        found = await fault.run(world, FULL_SCALE if full else 1)
    except* (Violation, TimeoutError, ChildProcessError) as group:
        found = "FAILED: " + "; ".join(str(error) or type(error).__name__ for error in group.exceptions)
    finally:
        await world.end_workers()
        await world.redis.aclose()
        await upstream.stop()
        await server.stop()
    seconds = time.monotonic() - begun
    say(f"{fault.number:>9} {fault.says:<33} {where:<24} seed {seed:<7} {seconds:5.1f} s  {found}")
    return not found.startswith("FAILED")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
