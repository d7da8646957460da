"""Damaged HTTP for a real front end: whatever is sent, it answers well or not at all, and serves the next client."""

import asyncio
import atexit
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random

import orjson

from tests.support.damage import damaged, pieces_of
from tests.support.framing import CORPUS, KEY, SOUND, Framing, check_invariants
from tests.support.raw_http import Piece, converse, request


def to_bytes(cases: Mapping[str, Framing]) -> list[bytes]:
    return [b"".join([piece for piece in case.pieces if isinstance(piece, bytes)]) for case in cases.values()]


SOUND_ONES, ALL = to_bytes(SOUND), to_bytes(CORPUS)
# A reply to HEAD has a length and no body, which `converse` cannot tell from one that is cut off.
CANNOT_BE_READ = b"HEAD "
MAX_RESIDENT_BYTES = 250 * 1024 * 1024


class FrontEnd:
    """`dragoman serve` as a process, without an upstream: counting tokens needs none. It ends with this process."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "GATEWAY_PORT": "0",
            "GATEWAY_ADMIN_PORT": "0",
            "GATEWAY_KEYS": f"fuzz:{KEY}",
            "GATEWAY_SECRET": "t:secret",
            "GATEWAY_UPSTREAM_URL": "http://127.0.0.1:9/v1",
            "GATEWAY_LOG_FORMAT": "json",
        }
        command = (sys.executable, "-m", "gateway", "serve")
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        atexit.register(self.process.kill)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = orjson.loads(line)
            if told["event"] == "listening":
                self.url = f"http://{told['client']}"
                break
        self.runner = asyncio.Runner()

    def check(self) -> None:
        """It lives, serves others, and has not grown."""
        assert self.process.poll() is None, "the front end has ended"
        told = self.runner.run(converse(self.url, [request("GET", "/livez")], replies=1))
        assert told.statuses == [200]
        statistics = Path(f"/proc/{self.process.pid}/statm")
        if statistics.exists():
            resident = int(statistics.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            assert resident < MAX_RESIDENT_BYTES, f"the front end has grown to {resident >> 20} MiB"


@cache
def front_end() -> FrontEnd:
    return FrontEnd()


def fuzz_framing(random: Random) -> str:
    cases = SOUND_ONES if random.random() < 0.7 else ALL
    data = damaged(b"".join(random.choices(cases, k=random.randrange(1, 4))), random, random.randrange(4))
    if CANNOT_BE_READ in data:
        return "not sent"
    pieces: list[Piece] = []
    for piece in pieces_of(data, random) if len(data) < 2000 else [data]:
        pieces += [piece] if random.random() < 0.8 else [piece, 0.001]
    front = front_end()
    told = front.runner.run(converse(front.url, [*pieces, 0.02, None], seconds=5))
    assert told.end != "open", "the connection stays open though nothing more is sent"
    check_invariants(told, most=data.count(b"HTTP/") + 1)
    front.check()
    if not told.statuses:
        return "not answered"
    return "answered" if set(told.statuses) == {200} else "refused"
