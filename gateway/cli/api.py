"""A minimal client of Anthropic's API for the batch commands, for this gateway or any other server of that API.

A failure is an ApiError with a remedy. `patiently` retries temporary failures, such as a restart of the gateway. The
first call of a command is made without it, so that a wrong address is reported at once.
"""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson

from gateway.cli.console import CommandError, Exit
from gateway.dialects.chat.response.errors.retry_hints import retry_after_of

# The gateway's defaults; the variables are those of Anthropic's SDKs.
DEFAULT_URL: Final = "http://127.0.0.1:8080"
URL_VARIABLE: Final = "ANTHROPIC_BASE_URL"
KEY_VARIABLE: Final = "ANTHROPIC_API_KEY"
TOKEN_VARIABLE: Final = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105 - a name
VERSION: Final = "2023-06-01"
SERVER: Final = "dragoman"

# A remote gateway behind a slow network, yet a wrong address is reported soon.
CONNECT_SECONDS: Final = 10.0
# The creation of a batch is answered once all of it is stored.
READ_SECONDS: Final = 300.0

# A gateway that is being replaced comes back within this time; a longer outage is for a person to look at.
PATIENCE_SECONDS: Final = 600.0
FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 15.0

# A repeated create is safe: it carries an idempotency key. 529 is Anthropic's "overloaded".
TRANSIENT: Final = frozenset({408, 429, 500, 502, 503, 504, 529})

Value = TypeVar("Value")

HINTS: Final = {
    401: f"put a client key of the gateway (from its GATEWAY_KEYS, without `tenant:`) into {KEY_VARIABLE}",
    403: "this key may not do that; ask for one that may",
    404: f"is this the gateway's client address? give it with --url or {URL_VARIABLE}, without a path",
    413: "send fewer or smaller requests; a proxy in front may have its own limit (nginx: client_max_body_size)",
    429: "the limit of this key is reached; wait a little, then run the same command again",
    500: "look for the request id in the gateway's log",
    503: "batches need Redis and a worker where the gateway runs; `dragoman check` there says what is missing",
    529: "the gateway has no room now; wait a minute, then run the same command again",
}
NO_BATCH: Final = (
    "is this the gateway's client address, and the right key? `dragoman batch status` lists the key's batches"
)


class ApiError(CommandError):
    """A failed call. `code`: HTTP status, 0 without an answer. `wait`: seconds that the server requests."""

    def __init__(
        self, message: str, hint: str = "", *, code: int = 0, transient: bool = False, wait: float | None = None
    ) -> None:
        super().__init__(message, hint, status=Exit.UNAVAILABLE)
        self.code = code
        self.transient = transient
        self.wait = wait


@dataclass(slots=True)
class Api:
    """Client of one server. `is_dragoman` is known after the first answer: only this gateway reports a batch's
    progress."""

    session: aiohttp.ClientSession
    url: str = field(repr=False)
    proxy: str | None = field(default=None, repr=False)
    is_dragoman: bool = field(default=False, init=False)

    async def get(self, path: str, **parameters: str | int) -> Any:
        return (await self.call("GET", path, params=parameters))[0]

    async def post(self, path: str, body: object) -> Any:
        return (await self.call("POST", path, data=orjson.dumps(body), headers={"content-type": "application/json"}))[0]

    async def call(self, method: str, path: str, **options: Any) -> tuple[Any, Mapping[str, str]]:
        """Return the answer's JSON and headers. Raises ApiError."""
        async with self.opened(method, path, **options) as response:
            body = await response.read()
            try:
                return orjson.loads(body), response.headers
            except orjson.JSONDecodeError:
                raise self._foreign(response.status) from None

    @asynccontextmanager
    async def opened(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a successful answer with an unread body. Raises ApiError for any other, and if it breaks off."""
        try:
            async with self.session.request(method, self.url + path, proxy=self.proxy, **options) as response:
                self.is_dragoman = response.headers.get("server") == SERVER
                if response.status != 200:
                    raise self._refused(response, await response.read())
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error.__cause__, CommandError):  # of the body, on its way out
                raise error.__cause__ from None
            raise self._unreached(error) from None

    def _refused(self, response: aiohttp.ClientResponse, body: bytes) -> ApiError:
        try:
            error = orjson.loads(body)["error"]
            message = f"{error['message']} ({response.status} {error['type']})"
        except (orjson.JSONDecodeError, KeyError, TypeError):
            # No error of this API: a proxy in between, or another program.
            return self._foreign(response.status)
        request_id = response.headers.get("request-id")
        wait = retry_after_of(response.headers)
        passes = response.status in TRANSIENT or (response.status == 409 and wait is not None)
        return ApiError(
            message + (f" [{request_id}]" if request_id else ""),
            NO_BATCH if response.status == 404 and "/batch" in response.url.path else HINTS.get(response.status, ""),
            code=response.status,
            transient=passes and response.headers.get("x-should-retry") != "false",
            wait=wait,
        )

    def _foreign(self, status: int) -> ApiError:
        """Return the error for an answer that is not of an Anthropic API: another server, or a proxy in front of an
        absent gateway."""
        return ApiError(
            f"what answered at {self.url} is not Anthropic's API (status {status})",
            f"give the gateway's base address, without a path, with --url or {URL_VARIABLE}",
            code=status,
            transient=status in (502, 503, 504),
        )

    def _unreached(self, error: BaseException) -> ApiError:
        where = f"give its address with --url or {URL_VARIABLE}"
        match error:
            case aiohttp.ClientConnectorDNSError():
                return ApiError(f"there is no host {error.host!r}", where, transient=True)
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
                return ApiError(f"no TLS connection to {self.url}: {error.strerror or error}", "is it http:// there?")
            case aiohttp.InvalidURL():
                return ApiError(f"{self.url} is not an address", where)
            case aiohttp.ClientConnectorError():
                hint = f"start the gateway (`dragoman dev`, `dragoman serve`), or {where}"
                reason = os.strerror(error.errno) if error.errno else "no connection"
                return ApiError(f"nothing answers at {self.url}: {reason}", hint, transient=True)
            case TimeoutError():
                return ApiError(f"{self.url} did not answer in time", "is the gateway overloaded?", transient=True)
            case _:
                return ApiError(f"the connection to {self.url} broke off", "run the same command again", transient=True)


@asynccontextmanager
async def connected(url: str | None) -> AsyncIterator[Api]:
    """Connect to `url`, or to the environment's if it is None. Raises CommandError for an invalid address."""
    given = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    base = to_base(given)
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
    headers = {"anthropic-version": VERSION, "accept": "application/json", **basic_auth(given), **credentials()}
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        yield Api(session, base, proxy_for(base))


def to_base(url: str) -> str:
    """Return the address without `/v1`, which many include, and without a password, since it is shown and stored."""
    base = without_userinfo(url.strip().rstrip("/").removesuffix("/v1"))
    try:
        parts = urlsplit(base)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CommandError(f"{base!r} is not an address", f"one looks like {DEFAULT_URL}")
    return base


def without_userinfo(url: str) -> str:
    return re.sub(r"://[^/?#]*@", "://", url, count=1)


def basic_auth(url: str) -> dict[str, str]:
    """Return the header for user name and password in the address, for a proxy in front of the gateway."""
    found = re.match(r"\s*https?://([^/?#]*)@", url)
    if found is None:
        return {}
    user, _, password = found[1].partition(":")
    return {"authorization": aiohttp.encode_basic_auth(unquote(user), unquote(password))}


def credentials() -> dict[str, str]:
    """Return the header with the key from the environment: every process of the machine can read a command line."""
    if key := os.environ.get(KEY_VARIABLE):
        return {"x-api-key": key}
    token = os.environ.get(TOKEN_VARIABLE)
    return {"authorization": f"Bearer {token}"} if token else {}


def proxy_for(url: str) -> str | None:
    """Return the proxy by HTTP_PROXY, HTTPS_PROXY and NO_PROXY. aiohttp's `trust_env` would also send credentials from
    ~/.netrc."""
    address = urlsplit(url)
    return None if proxy_bypass(address.hostname or "") else getproxies().get(address.scheme)


@dataclass(frozen=True, slots=True)
class Outage:
    """A series of temporary failures: its start, and the time until which the call is repeated, in Unix seconds.

    `error` is the last failure, None once the call has succeeded.
    """

    error: ApiError | None
    since: float
    until: float
    seconds: float = 0.0


async def patiently(
    call: Callable[[], Awaitable[Value]], waiting: Callable[[Outage], None], *, seconds: float = PATIENCE_SECONDS
) -> Value:
    """Return the call's value, repeating it after temporary failures. `waiting` gets each failure and the end."""
    clock = asyncio.get_running_loop().time
    until, pause = clock() + seconds, FIRST_WAIT
    since: float | None = None
    while True:
        try:
            value = await call()
            if since is not None:
                waiting(Outage(None, since, since + seconds, round(time.time() - since, 1)))
            return value
        except ApiError as error:
            pause = max(pause, error.wait or 0.0)
            if not error.transient or clock() + pause > until:
                raise
            since = since or time.time()
            waiting(Outage(error, since, since + seconds))
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_WAIT)
