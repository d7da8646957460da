"""Bodies that nest, swell or are no JSON: refused at once, and without memory."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp

from tests.chaos.processes import front_process
from tests.chaos.world import World, require

# Of processor time, which does not depend on what else runs here.
REFUSED_SECONDS, SECONDS_PER_MEGABYTE = 0.05, 0.01
INFLATED_SECONDS = 1.0  # of a bomb, of which 32 MB are inflated
TRIES = 5
MOST_BYTES, MOST_INFLATED_BYTES = 32 * 1024 * 1024, 64 * 1024 * 1024
MILLION = 1_000_000
GIBIBYTE = 1 << 30
KIND = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Hostile:
    """`status`: the answer. `encoding`: of the body."""

    name: str
    body: bytes
    status: int = 400
    encoding: str = ""


def asked(value: bytes, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """A request with a tool's schema of this value; or with bytes around it."""
    tool = b'{"name":"t","input_schema":{"type":"object","default":%b}}' % value
    message = b'{"role":"user","content":"x"}'
    return b'%b{"model":"m","max_tokens":9,"messages":[%b],"tools":[%b]}%b' % (before, message, tool, after)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


SOUND = asked(b"{}")


def malformed() -> Iterator[Hostile]:
    """Bodies that are refused with 400, or with 413 above a million JSON values, and a few that JSON allows."""
    yield Hostile("73 lists within each other", asked(nested(73)))
    yield Hostile("64 lists within each other", asked(nested(64)), 200)
    yield Hostile("1,100 lists within each other", asked(nested(1100)))
    yield Hostile("5 million lists within each other", b"[" * 5 * MILLION, 413)
    yield Hostile("1,100 objects within each other", asked(b'{"a":' * 1100 + b"1" + b"}" * 1100))
    yield Hostile("an integer of a million digits", asked(b"1" * MILLION))
    yield Hostile("1e400", asked(b"1e400"))
    yield Hostile("NaN", asked(b"NaN"))
    yield Hostile("Infinity", asked(b"-Infinity"))
    yield Hostile("half a surrogate pair", asked(rb'"\ud800"'))
    yield Hostile("bytes that are not UTF-8", asked(b'"\xff\xfe"'))
    yield Hostile("a character in too many bytes", asked(b'"\xc0\x80"'))
    yield Hostile("a NUL within a string", asked(b'"\x00"'))
    yield Hostile("a NUL after the body", asked(b"{}", after=b"\x00"))
    yield Hostile("a byte order mark", asked(b"{}", before=b"\xef\xbb\xbf"))
    yield Hostile("two bodies", SOUND + SOUND)
    yield Hostile("half a body", SOUND[:-9])
    yield Hostile("nothing", b"")
    yield Hostile("2 million values in a list", asked(b"[" + b"0," * 2 * MILLION + b"0]"), 413)
    yield Hostile("2 million names", asked(b"{" + b'"a":0,' * 2 * MILLION + b'"a":0}'), 413)
    # What JSON allows: the last of two equal names counts, and an escaped NUL is a character.
    yield Hostile("a name twice", SOUND.replace(b'"model":"m"', b'"model":1,"model":"m"'), 200)
    yield Hostile("a NUL, escaped", SOUND.replace(b'"content":"x"', rb'"content":"\u0000"'), 200)


def encoded(size: int) -> Iterator[Hostile]:
    """Bombs of `size` bytes, and encodings that are not what they say."""
    zeros = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 20)
    bomb = b"".join([zeros.compress(block) for _ in range(size >> 20)]) + zeros.flush()
    yield Hostile("a bomb", bomb, 413, "gzip")
    yield Hostile("two bombs, one after the other", bomb + bomb, 413, "gzip")
    yield Hostile("a bomb within gzip", gzip.compress(bomb, 1), 400, "gzip")
    for stacked in ("gzip, gzip", "gzip,gzip", "identity, gzip"):
        yield Hostile(f"stacked: {stacked}", gzip.compress(gzip.compress(SOUND)), 415, stacked)
    for unknown in ("br", "zstd", "deflate", "compress", "x"):
        yield Hostile(f"an encoding: {unknown}", SOUND, 415, unknown)
    yield Hostile("gzip that is none", SOUND, 400, "gzip")
    yield Hostile("gzip without its end", gzip.compress(SOUND)[:-9], 400, "gzip")
    yield Hostile("gzip with a wrong sum", gzip.compress(SOUND)[:-8] + bytes(8), 400, "gzip")
    yield Hostile("gzip", gzip.compress(SOUND), 200, "gzip")


async def refuse(world: World, _: int) -> str:
    """The right answer takes 50 ms, and a second for a bomb; memory grows by 32 and 64 MB at most."""
    variables = {**world.variables, "GATEWAY_UPSTREAM_URL": world.upstream.url("live")}
    world.upstream.latency = (0.0, 0.0)
    found = []
    async with front_process(variables) as front, aiohttp.ClientSession(front.url) as client:
        await answer(client, Hostile("sound", SOUND, 200))
        for what, cases, most_bytes in (
            ("bodies", malformed(), MOST_BYTES),
            ("encodings", encoded(GIBIBYTE), MOST_INFLATED_BYTES),
        ):
            before, longest = front.resident_bytes, 0.0
            for case in cases:
                begun = front.processor_seconds
                for _ in range(TRIES):
                    await answer(client, case)
                seconds = (front.processor_seconds - begun) / TRIES
                most = REFUSED_SECONDS + SECONDS_PER_MEGABYTE * len(case.body) / MILLION
                most = INFLATED_SECONDS if case.encoding else most
                require(seconds <= most, f"{case.name}: the answer took {1000 * seconds:.0f} ms")
                longest = max(longest, seconds)
            grown = front.resident_bytes - before
            require(grown <= most_bytes, f"{what}: the front end has grown by {grown >> 20} MiB")
            found.append(f"{what}: at most {1000 * longest:.0f} ms, {grown >> 20} MiB")
    return "; ".join(found)


async def answer(client: aiohttp.ClientSession, case: Hostile) -> None:
    """Send the body; the answer must be the right one."""
    headers = {**KIND, **({"content-encoding": case.encoding} if case.encoding else {})}
    async with client.post("/v1/messages", data=case.body, headers=headers) as reply:
        text = await reply.text()
    require(reply.status == case.status, f"{case.name}: {reply.status} for {case.status}: {text[:200]}")
