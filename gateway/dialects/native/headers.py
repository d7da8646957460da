"""Headers of a native request: the client's `anthropic-*` ones, and the operator's credentials.

Never forwarded: a client's own credentials, cookies and proxy headers, and the headers that choose the account that
pays.
"""

from gateway import __version__
from gateway.dialects.base import Asking
from gateway.messages.prompt import Received
from gateway.upstream.http.forwarding import SENDABLE
from gateway.upstream.routes.route import Upstream

# Set from the context: a header of the client may have another spelling, or be absent.
VERSION = "anthropic-version"
BETA = "anthropic-beta"
# OpenRouter reads betas from this header (its documentation, 2026).
OPENROUTER_BETA = "x-anthropic-beta"
PREFIX = "anthropic-"
ALL_PREFIXES = (PREFIX, "user-agent", "x-app", "x-stainless-", "x-claude-code-")
# They choose the account, so they are the operator's to set.
ACCOUNT_HEADERS = frozenset({"anthropic-organization-id", "anthropic-workspace-id", "anthropic-user-profile-id"})
REPLACED = frozenset({"authorization", "api-key", "x-api-key", VERSION})
USER_AGENT = ("user-agent", f"dragoman/{__version__}")
LONG_CONTEXT = "context-1m-2025-08-07"

Headers = tuple[tuple[str, str], ...]


def to_headers(upstream: Upstream, asking: Asking, received: Received | None, *, long_context: bool) -> Headers:
    """Return all headers of the request; `long_context`: the client asked for it by the suffix of the model's name."""
    support = upstream.vendor.messages
    # Without a choice of the operator's, the key goes into the header that this vendor's Messages takes.
    is_chosen = upstream.has_own_auth or not upstream.api_key
    kept = [
        (name, value) for name, value in upstream.headers if name not in REPLACED or (is_chosen and name != VERSION)
    ]
    betas, forwarded = _of_client(received, upstream)
    betas = betas or sorted(asking.betas)  # a batch keeps the set alone
    if long_context and not any(LONG_CONTEXT in beta for beta in betas):
        betas.append(LONG_CONTEXT)
    is_named = forwarded and any(name == "user-agent" for name, _ in forwarded)
    headers = [*kept, *(() if is_named else (USER_AGENT,)), (VERSION, asking.api_version), *forwarded]
    if betas:
        value = ",".join(betas)
        headers.append((BETA, value))
        if support.repeats_betas:
            headers.append((OPENROUTER_BETA, value))
    if not is_chosen:
        bearer = ("authorization", f"Bearer {upstream.api_key}")
        headers.append(bearer if support.auth == "bearer" else ("x-api-key", upstream.api_key))
    return tuple(headers)


def to_query(upstream: Upstream, received: Received | None) -> str:
    """Return the query string with its question mark; only Anthropic's own API reads one."""
    keeps = upstream.vendor.messages.keeps_query or upstream.takes_client_key
    if received is None or not received.query or not keeps:
        return ""
    return f"?{received.query}"


def _of_client(received: Received | None, upstream: Upstream) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the betas, in the client's order and spelling, and the other headers to forward, never a credential.

    Forwarded are Anthropic's headers, and those that the operator has chosen.
    """
    betas: list[str] = []
    forwarded = []
    chosen = upstream.forward_headers
    # With the caller's own key also those that name the client: what a key may do can depend on them.
    prefixes = ALL_PREFIXES if upstream.takes_client_key else PREFIX
    named = [
        (name, value)
        for original, value in (received.headers if received is not None else ())
        if (name := original.lower()).startswith(prefixes) or (name in chosen and name not in REPLACED)
    ]
    for name, value in named:
        if SENDABLE.fullmatch(value) is None:
            continue
        if name == BETA:
            betas.append(value)
        elif name != VERSION and (name not in ACCOUNT_HEADERS or upstream.takes_client_key):
            forwarded.append((name, value))
    return betas, forwarded
