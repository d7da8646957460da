"""`dragoman login URL`: sign in to a gateway, and print a token for the calling program.

If the gateway has no sign-in, the command asks for a key. Only the token goes to standard output; texts for the person
go to standard error.
"""

import asyncio
import os
import sys
from getpass import getpass
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import aiohttp
import typer

from gateway.access.identity.sign_in import DEVICE_GRANT
from gateway.cli.api import to_base
from gateway.cli.console import CommandError, Console, Exit, printable, run_async
from gateway.cli.options import Json

# Also the variable in which opencode gets the key.
KEY_VARIABLE: Final = "DRAGOMAN_API_KEY"
DISCOVERY: Final = "/.well-known/oauth-authorization-server"
TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
# A gateway asks for 5 seconds between polls, and for 5 more after `slow_down`.
POLL_SECONDS: Final = 5.0
MAX_WAIT: Final = 600.0

Answer = tuple[int, dict[str, Any]]


def login(
    url: Annotated[str, typer.Argument(help="The gateway's address.")],
    json: Json = False,
) -> None:
    """Sign in to a gateway in a browser, or with a key, and print a key for other programs."""
    console = Console(json)
    with console.failing_clearly():
        base = to_base(url)
        token = run_async(lambda: signed_in(base)) or typed_key()
        console.answer({"token": token}, token)


async def signed_in(base: str) -> str | None:
    """Return the token of a sign-in by device flow; None if the gateway has none. Raises CommandError."""
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        status, server = await call(session, "GET", base + DISCOVERY)
        if status == 404:
            return None
        if status != 200:
            raise CommandError(f"the gateway does not answer now (status {status})", status=Exit.UNAVAILABLE)
        start, tokens = (own_address(base, server, name) for name in ("device_authorization", "token"))
        status, device = await call(session, "POST", start, {"surface": "cli"})
        if status != 200:
            raise CommandError(f"the sign-in was refused: {reason_of(device)}", status=Exit.FAILED)
        page = str(device.get("verification_uri_complete") or device.get("verification_uri"))
        typer.echo(printable(f"Open {page} and confirm the code {device.get('user_code')}."), err=True)
        return await polled(session, tokens, device)


async def polled(session: aiohttp.ClientSession, address: str, device: dict[str, Any]) -> str:
    """Return the token once the person has signed in. Raises CommandError otherwise."""
    try:
        async with asyncio.timeout(min(MAX_WAIT, float(device.get("expires_in") or MAX_WAIT))):
            return await poll(session, address, device)
    except TimeoutError:
        raise CommandError("the code has expired", "run the command again", status=Exit.FAILED) from None


async def poll(session: aiohttp.ClientSession, address: str, device: dict[str, Any]) -> str:
    """Poll for the token. Raises CommandError if the sign-in is refused."""
    wait = float(device.get("interval") or POLL_SECONDS)
    form = {"grant_type": DEVICE_GRANT, "device_code": str(device.get("device_code"))}
    while True:
        await asyncio.sleep(wait)
        status, answer = await call(session, "POST", address, form)
        if status == 200:
            return str(answer["access_token"])
        if answer.get("error") == "slow_down":
            wait += POLL_SECONDS
        elif answer.get("error") != "authorization_pending":
            raise CommandError(f"the sign-in was refused: {reason_of(answer)}", status=Exit.FAILED)


def typed_key() -> str:
    """Return the key from the environment, standard input or a prompt. Raises CommandError without one."""
    key = os.environ.get(KEY_VARIABLE, "") or ("" if sys.stdin.isatty() else sys.stdin.readline().strip())
    if not key:
        typer.echo("This gateway has no sign-in: type a key of it.", err=True)
        try:
            with open("/dev/tty"):  # noqa: PTH123 - whether there is a terminal, where standard input is none
                key = getpass("Key: ").strip()
        except OSError:
            raise CommandError("there is no terminal to type a key", f"set {KEY_VARIABLE}", status=Exit.USAGE) from None
    if not key:
        raise CommandError("there is no key", "an operator makes one with `dragoman keys create`", status=Exit.USAGE)
    return key


def own_address(base: str, server: dict[str, Any], name: str) -> str:
    """Return the endpoint of this name if it belongs to the gateway, or else its usual address."""
    given, ours = str(server.get(f"{name}_endpoint", "")), urlsplit(base)
    try:
        is_own = urlsplit(given)[:2] == ours[:2]
    except ValueError:
        is_own = False
    return given if is_own else f"{base}/oauth/{name}"


async def call(session: aiohttp.ClientSession, method: str, url: str, form: dict[str, str] | None = None) -> Answer:
    """Return status and JSON object of an answer. Raises CommandError without an answer."""
    try:
        async with session.request(method, url, data=form, allow_redirects=False) as response:
            body = await response.json(content_type=None)
            return response.status, body if isinstance(body, dict) else {}
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError):
        raise CommandError(
            f"no gateway answers at {printable(url)}", "is this its client address?", status=Exit.UNAVAILABLE
        ) from None


def reason_of(answer: dict[str, Any]) -> str:
    return printable(str(answer.get("error_description") or answer.get("error") or "no reason was given"))
