"""Map Redis failures to a 503 or 529 with `retry-after` for clients, and to a reason for operators.

Refusals and connection failures become StoreAway, or Overloaded if memory is full. Errors that only a bug of the
gateway causes stay unchanged, and end as a 500 and a log line.

A reason contains no key, argument, address or password, so logs and readiness probes may show it.
"""

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis.asyncio.client import Pipeline
from redis.exceptions import (
    AuthenticationError,
    ClusterError,
    InvalidResponse,
    MaxConnectionsError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.errors import Overloaded, StoreAway
from gateway.process import descriptors

# Seconds for the client. A failover takes about 2 s; a full store empties as batches end and expire.
RETRY_AFTER: Final = 2
FULL_RETRY_AFTER: Final = 30
CANNOT_BE_REACHED: Final = "The gateway's store cannot be reached. Please try again"
CANNOT_SERVE: Final = "The gateway's store cannot serve this now. Please try again"
STORE_FULL: Final = "The gateway's store is full. Please try again later"
# Of a refusal that is not among MEANINGS.
QUOTED_LENGTH: Final = 80

# A code of ours: Redis answers `ERR` to a command that it does not have.
UNKNOWN_COMMAND: Final = "UNKNOWN"
FULL: Final = "OOM"

NO_ANSWER: Final = "no answer in time"

# By the code that begins a refusal, as Redis 7.0 and Valkey 9.1 send it (2026-11).
MEANINGS: Final = {
    "NOAUTH": "the server requires a password, and its URL has none",
    "WRONGPASS": "the server does not accept the user name or password in its URL",
    "DENIED": "the server is in protected mode: it accepts connections from its own host only",
    "READONLY": "the server is a replica and takes no writes",
    "MASTERDOWN": "the server is a replica that has lost its primary",
    "NOREPLICAS": "the server has fewer replicas than its min-replicas-to-write",
    "MISCONF": "the server cannot write to its disk and takes no writes",
    "BUSY": "the server is busy with a script",
    "LOADING": "the server is still loading its data",
    "CLUSTERDOWN": "the Cluster does not cover all slots",
    "TRYAGAIN": "the Cluster is moving keys to another node",
    "ASK": "the Cluster is moving keys to another node",
    "MOVED": "the server is part of a Cluster: its URL should start with redis+cluster://",
    "CROSSSLOT": "the server is part of a Cluster: its URL should start with redis+cluster://",
    "WRONGTYPE": "another program uses keys with this prefix: set GATEWAY_REDIS_PREFIX",
    FULL: "the server's memory is full",
    UNKNOWN_COMMAND: "the server does not have a command that the gateway needs",
}
KEYS_NOT_ALLOWED: Final = "NOPERM: the server's ACL does not allow this user the gateway's keys"
# Refusals that end by themselves. Any other one waits for an operator.
PASSING: Final = frozenset(
    ("READONLY", "MASTERDOWN", "NOREPLICAS", "MISCONF", "BUSY", "LOADING", "CLUSTERDOWN", "TRYAGAIN", "ASK")
)
# The server does not have the command, or does not let this user run it.
MISSING_COMMAND: Final = frozenset((UNKNOWN_COMMAND, "NOPERM"))
# After these the connection leads to the wrong server: behind a balancer, another one is primary by now.
WRONG_SERVER: Final = frozenset(("READONLY", "MASTERDOWN"))

# redis-py removes the codes that it knows, `ERR` among them. Redis before 7.0 puts the code of a refusal within a
# script further back: "ERR Error running script (…): …: -READONLY …".
_CODE: Final = re.compile(r"([A-Z]{3,}) ")
_CODE_WITHIN: Final = re.compile(r": -([A-Z]{3,}) ")
_UNKNOWN: Final = re.compile(r"unknown (redis )?command", re.IGNORECASE)
# Within a script, an ACL answers `ERR`.
_NOT_ALLOWED: Final = re.compile(r"ACL failure in script|can't run this command")
_COMMAND: Final = re.compile(r"run the '([\w|-]{1,40})'")
# Proxies and hosted servers also use `ERR`, with other messages.
_OUR_MISTAKE: Final = re.compile(
    r"wrong number of arg|syntax error|not an integer|not a valid float|no such item in the batch|would overflow|"
    r"^user_script:|error (running|compiling) script",
    re.IGNORECASE,
)


@contextmanager
def redis_failures() -> Iterator[None]:
    """Convert redis-py's errors to StoreAway or Overloaded, except those that only a bug of the gateway causes.

    Raises CancelledError for a cancellation that the library swallowed: it sends with `asyncio.wait_for`, which before
    Python 3.12 drops one that arrives after everything has been sent.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        yield
        if task.cancelling() > before:
            raise asyncio.CancelledError
    except (RedisError, RedisClusterException) as error:
        code = code_of(error)
        if code == FULL:
            raise Overloaded(STORE_FULL, retry_after=FULL_RETRY_AFTER) from error
        if code == "ERR" and _OUR_MISTAKE.search(str(error)):
            raise
        if code is None and descriptors.out_of_descriptors(error, "redis"):
            raise Overloaded(descriptors.MESSAGE, retry_after=descriptors.RETRY_AFTER) from error
        message = CANNOT_BE_REACHED if code is None else CANNOT_SERVE
        raise StoreAway(message, refusal=code, reason=reason_of(error), retry_after=RETRY_AFTER) from error


async def replies_of(pipeline: Pipeline) -> list[Any]:
    """Send the pipeline. Raises the first refusal unchanged: redis-py would quote the command in it."""
    replies: list[Any] = await pipeline.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def code_of(error: Exception) -> str | None:
    """Return the code at the start of a server's refusal; None for a failure without one (no connection, no answer in
    time)."""
    error = _root_of(error)
    status = getattr(error, "status_code", None)
    if status is not None and status != "ERR":
        return str(status)
    if not isinstance(error, ResponseError):
        return None
    text = str(error)
    if _NOT_ALLOWED.search(text):
        return "NOPERM"
    if _UNKNOWN.search(text):
        return UNKNOWN_COMMAND
    found = _CODE.match(text) if status is None else _CODE_WITHIN.search(text)
    return found[1] if found is not None else "ERR"


def reason_of(error: Exception) -> str:
    """Return one line for an operator: the code and its meaning."""
    error = _root_of(error)
    code = code_of(error)
    if code is None:
        return _reason_without_code(error)
    if code == "NOPERM":
        command = _COMMAND.search(str(error))
        if command is None:
            return KEYS_NOT_ALLOWED
        return f"NOPERM: the server's ACL does not let this user run '{command[1]}'"
    return f"{code}: {MEANINGS[code] if code in MEANINGS else _quoted(error)}"


def _root_of(error: Exception) -> Exception:
    """Return the underlying error: redis-py wraps errors of connecting, and the last error of a Cluster's node."""
    while isinstance(error.__cause__, RedisError | RedisClusterException):
        error = error.__cause__
    return error


def problem_of(error: Exception) -> str:
    """Return `reason_of` the error, also after conversion by `redis_failures`."""
    if isinstance(error, StoreAway):
        return error.reason
    if isinstance(error, Overloaded):
        return f"{FULL}: {MEANINGS[FULL]}" if error.message == STORE_FULL else error.message
    if isinstance(error, TimeoutError):
        return NO_ANSWER
    if isinstance(error, OSError):
        return f"no connection: {os.strerror(error.errno or 0)}"
    return reason_of(error)


def _reason_without_code(error: Exception) -> str:
    if isinstance(error, AuthenticationError):
        return "the URL has a password, and the server has none for this user"
    if isinstance(error, RedisTimeoutError):
        return NO_ANSWER
    if isinstance(error, RedisConnectionError):
        return f"no connection: {_cause_of(error)}"
    if isinstance(error, ClusterError):
        return "the Cluster redirected the call too often: it may be moving keys to another node"
    if isinstance(error, InvalidResponse):
        return "the answer is not in the protocol of Redis"
    return _quoted(error)


def _cause_of(error: RedisConnectionError) -> str:
    """Return the cause without the address that redis-py puts into its message."""
    cause = error.__cause__ or error.__context__
    if isinstance(error, MaxConnectionsError) or isinstance(cause, TimeoutError):
        return "all of them are in use"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({getattr(cause, 'reason', None) or 'no reason given'})"
    if isinstance(cause, socket.gaierror):
        return str(cause.strerror)
    if isinstance(cause, OSError) and cause.errno is not None:
        return os.strerror(cause.errno)
    return "closed by the server"


def _quoted(error: Exception) -> str:
    """Return the server's message, up to where it repeats the command."""
    text = str(error).partition(", with args")[0].partition(" script: ")[0]
    return "".join([letter for letter in text if letter.isprintable()])[:QUOTED_LENGTH]
