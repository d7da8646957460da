"""The other way to an upstream: the interface of `client` on aiohttp's client.

It is the oracle that the fast transport is tested against, and the way through HTTP proxies (HTTP_PROXY, HTTPS_PROXY,
NO_PROXY of the environment; aiohttp's own `trust_env` would also send credentials out of ~/.netrc). It keeps to the
same rules, at about eight times the CPU per small request. Coarser: no more than 128 header lines are taken; an
answer without length that ends in a connection reset counts as complete; bytes on an idle connection may be taken
for the next answer; a fault in a chunk may show only as silence.
"""

import asyncio
import io
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from gateway.errors import (
    AnswerCut,
    GatewayError,
    Overloaded,
    Unavailable,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from gateway.process import descriptors
from gateway.upstream.http.client import SAFE_METHODS, Answer, Call, Timeouts
from gateway.upstream.http.http1 import (
    CLOSED_EARLY,
    MAX_HEADER_BYTES,
    NOT_HTTP,
    BoundedBody,
    HttpOrigin,
    check_headers,
    check_kind,
    declared_length,
    decoded,
    decoding,
    header_too_large,
    to_target,
    too_large,
)
from gateway.upstream.http.pool import SHUTTING_DOWN

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


@dataclass(slots=True, eq=False)
class _Progress:
    """Progress of sending one request; aiohttp's trace events move it, and the deadline with it."""

    patience: asyncio.Timeout
    timeouts: Timeouts
    ends_at: float | None
    reused: bool = False
    sent: bool = False
    over: bool = False

    def begin(self) -> None:
        self.sent = False
        self.patience.reschedule(_deadline(self.timeouts.connect, self.ends_at))

    def mark_sent(self) -> None:
        self.sent = True
        if not self.over:
            self.patience.reschedule(_deadline(self.timeouts.first_byte, self.ends_at))


class AiohttpClient:
    """An `UpstreamClient` with the options of `Transport`."""

    def __init__(
        self,
        *,
        max_connections: int = 1000,
        max_header_bytes: int = MAX_HEADER_BYTES,
        max_idle: float = 30.0,
        pool_wait: float = 5.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._max_connections = max_connections
        self._max_header_bytes = max_header_bytes
        self._max_idle = max_idle
        self._pool_wait = pool_wait
        # True means aiohttp's default context, with certificates checked.
        self._ssl: ssl.SSLContext | bool = True if ssl_context is None else ssl_context
        self._proxies = getproxies()
        self._slots: dict[HttpOrigin, asyncio.Semaphore] = {}
        self._sessions: dict[bool, aiohttp.ClientSession] = {}  # True: every connection carries one request
        self._sending: set[_Progress] = set()
        self._answers: set[AiohttpAnswer] = set()
        self._closed = False

    def connections(self) -> tuple[int, int]:
        """Return the number of answers that arrive; idle connections are not known here."""
        return len(self._answers), 0

    async def open(self, call: Call) -> Answer:
        self._refuse_when_closed()
        check_headers(call.headers)
        origin = to_target(call.url).origin
        ends_at = _deadline(call.timeouts.total, None)
        slot = self._slots.setdefault(origin, asyncio.Semaphore(self._max_connections))
        try:
            async with asyncio.timeout(self._pool_wait):
                await slot.acquire()
        except TimeoutError:
            raise Overloaded(f"all {self._max_connections} connections to the upstream are busy") from None
        # Also for a cancelled call: the slot must not be lost.
        response = None
        try:
            self._refuse_when_closed()
            response = await self._ask(call, ends_at)
        finally:
            if response is None:
                slot.release()
        answer = AiohttpAnswer(response, call, ends_at)

        def leave() -> None:
            self._answers.discard(answer)
            slot.release()

        self._answers.add(answer)
        answer.leave = leave
        return answer

    async def close(self) -> None:
        self._closed = True
        for progress in self._sending:
            progress.patience.reschedule(asyncio.get_running_loop().time())
        for answer in tuple(self._answers):
            answer.abort()
        for session in self._sessions.values():
            await session.close()

    async def _ask(self, call: Call, ends_at: float | None) -> aiohttp.ClientResponse:
        patience = asyncio.timeout(None)
        progress = _Progress(patience, call.timeouts, ends_at)
        self._sending.add(progress)
        try:
            async with patience:
                response = await self._request(call, progress)
        except TimeoutError:
            self._refuse_when_closed()
            raise UpstreamTimedOut(
                "the upstream sent no answer in time" if progress.sent else "no connection to the upstream in time"
            ) from None
        finally:
            # aiohttp may report "headers sent" after the answer has come; the timer must not start again.
            progress.over = True
            self._sending.discard(progress)
        try:
            check_kind(response.status, _joined(response))
            if sum(len(name) + len(value) + 4 for name, value in response.raw_headers) > self._max_header_bytes:
                raise header_too_large(self._max_header_bytes)
        except UpstreamError:
            response.close()
            raise
        return response

    async def _request(self, call: Call, progress: _Progress) -> aiohttp.ClientResponse:
        progress.begin()
        try:
            return await self._send(call, progress, fresh=False)
        except UpstreamUnreachable:
            # The upstream may have closed a kept-alive connection just before. What it may have run is not repeated.
            if not progress.reused or (progress.sent and call.method not in SAFE_METHODS):
                raise
        progress.begin()
        return await self._send(call, progress, fresh=True)

    async def _send(self, call: Call, progress: _Progress, *, fresh: bool) -> aiohttp.ClientResponse:
        try:
            origin = to_target(call.url).origin
            proxy = self._proxies.get(origin.scheme)
            return await self._session(fresh).request(
                call.method,
                # Otherwise yarl rewrites escapes in the path, and a signed URL breaks.
                URL(call.url, encoded=True),
                headers=[*call.headers, ("Accept-Encoding", "identity")],
                # As a file, which aiohttp writes in pieces; it warns of raw bytes above 1 MiB.
                data=io.BytesIO(call.body) if call.body else None,
                # A redirect would carry the key to another host.
                allow_redirects=False,
                proxy=None if proxy is None or proxy_bypass(origin.host) else proxy,
                ssl=self._ssl,
                trace_request_ctx=progress,
                max_line_size=self._max_header_bytes,
                max_field_size=self._max_header_bytes,
            )
        except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError) as error:
            raise UpstreamUnreachable("the upstream's certificate is not trusted") from error
        except (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError) as error:
            if descriptors.out_of_descriptors(error, "upstream"):
                raise Overloaded(descriptors.MESSAGE, retry_after=descriptors.RETRY_AFTER) from error
            raise UpstreamUnreachable("no connection to the upstream could be made") from error
        except aiohttp.ClientError as error:
            raise UpstreamError(NOT_HTTP) from error

    def _session(self, fresh: bool) -> aiohttp.ClientSession:
        if fresh not in self._sessions:
            self._sessions[fresh] = aiohttp.ClientSession(
                connector=(
                    aiohttp.TCPConnector(limit=0, force_close=True)
                    if fresh
                    else aiohttp.TCPConnector(limit=0, keepalive_timeout=self._max_idle)
                ),
                # Cookies of one tenant's call must not go out with another's.
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept", "Content-Type", "User-Agent"),
                # Decompressed here, in bounded pieces: a body of 1 MB may inflate to gigabytes.
                auto_decompress=False,
                timeout=_NO_TIMEOUT,
                trace_configs=[_trace()],
                middlewares=(_without_retry,),
            )
        return self._sessions[fresh]

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise Unavailable(SHUTTING_DOWN)


class AiohttpAnswer:
    """An `Answer` over aiohttp's response. `leave` is called once, when the answer ends or is given up."""

    def __init__(self, response: aiohttp.ClientResponse, call: Call, ends_at: float | None) -> None:
        self.leave: Callable[[], None] | None = None
        self._response = response
        self._headers = _joined(response)
        self._timeouts = call.timeouts
        self._ends_at = ends_at
        self._aborted = False
        self._taken = False
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers

    @property
    def has_ended(self) -> bool:
        return self.leave is None or self._response.content.at_eof()

    async def read(self, limit: int) -> bytes:
        if not self._response.content.at_eof() and declared_length(self._headers) > limit:
            self.abort()
            raise too_large(limit)
        body = BoundedBody(limit)
        await self._deliver(body.add)
        return decoded(b"".join(body.pieces), self._coding(), limit)

    async def pump(self, receive: Callable[[bytes], None]) -> None:
        try:
            receive = decoding(receive, self._coding())
        except UpstreamError:
            self.abort()
            raise
        await self._deliver(receive)

    def pause(self) -> None:
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def abort(self) -> None:
        if self.leave is not None:
            self._aborted = True
            self._end()

    async def _deliver(self, receive: Callable[[bytes], None]) -> None:
        if self._taken:
            raise RuntimeError("an answer can be read once")
        self._taken = True
        try:
            while piece := await self._next():
                receive(piece)
            self._end()
        finally:
            self.abort()

    async def _next(self) -> bytes:
        """The next piece, or nothing at the end."""
        try:
            # While the client is slow only the total time runs: the upstream is not at fault.
            async with asyncio.timeout_at(self._ends_at):
                await self._flowing.wait()
            async with asyncio.timeout_at(_deadline(self._timeouts.idle, self._ends_at)):
                piece = await self._response.content.readany()
        except TimeoutError:
            raise UpstreamTimedOut("the upstream was silent for too long") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._given_up() if self._aborted else AnswerCut(CLOSED_EARLY) from error
        if self._aborted:
            raise self._given_up()
        return piece

    def _end(self) -> None:
        leave, self.leave = self.leave, None
        self._flowing.set()
        self._response.close()
        if leave is not None:
            leave()

    def _given_up(self) -> UpstreamError:
        return AnswerCut("the upstream's answer was given up before its end")

    def _coding(self) -> str:
        return self._headers.get("content-encoding", "")


def _deadline(seconds: float | None, ends_at: float | None) -> float | None:
    """`seconds` from now in the loop's time, but no later than `ends_at`; None is never."""
    if seconds is None:
        return ends_at
    soon = asyncio.get_running_loop().time() + seconds
    return soon if ends_at is None else min(soon, ends_at)


def _joined(response: aiohttp.ClientResponse) -> dict[str, str]:
    names = {name.lower() for name in response.headers}
    return {name: ", ".join(response.headers.getall(name)) for name in names}


async def _without_retry(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """aiohttp sends GET and the like again after a disconnect, even on a fresh connection; only ours may."""
    try:
        return await handler(request)
    except aiohttp.ServerDisconnectedError as error:
        raise _closed(answered=not isinstance(error.message, str)) from error
    except aiohttp.ClientConnectorError:
        raise
    except aiohttp.ClientOSError as error:
        raise _closed(answered=False) from error


def _closed(*, answered: bool) -> GatewayError:
    if answered:
        return AnswerCut(CLOSED_EARLY)
    return UpstreamUnreachable("the upstream closed the connection before it answered")


def _trace() -> aiohttp.TraceConfig:
    async def mark_reused(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
        context.trace_request_ctx.reused = True

    async def mark_sent(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
        context.trace_request_ctx.mark_sent()

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(mark_reused)
    config.on_request_headers_sent.append(mark_sent)
    config.on_request_chunk_sent.append(mark_sent)
    return config
