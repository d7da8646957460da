"""Upstreams that are asked with the caller's own key (`auth = "client"`).

The key goes to one upstream of a request and to no other, is part of its route for that request only, and is removed
from the upstream's texts. Each key has its own circuits: the limits and the credit that it meets are its owner's.
"""

from dataclasses import replace
from hashlib import blake2b
from operator import attrgetter

from gateway.context import Context
from gateway.errors import BillingProblem, CredentialsRefused, GatewayError, Unauthenticated, UpstreamWords
from gateway.upstream.http.client import Answer
from gateway.upstream.routes.route import Route

NEEDED = (
    "this model is asked with your own key: send it in `x-api-key` or `authorization`, and the key of this gateway in "
    "`x-gateway-key`"
)
REMOVED = "[key]"
TAKES_CLIENT_KEY = attrgetter("upstream.takes_client_key")
# Headers of an answer that describe the account of the key.
ACCOUNT_PREFIXES = ("anthropic-ratelimit-", "x-ratelimit-")
ACCOUNT_HEADERS = frozenset({"anthropic-organization-id", "openai-organization"})


def with_client_keys(routes: tuple[Route, ...], context: Context) -> tuple[Route, ...]:
    """Return the routes with the caller's key where one is taken; the first such upstream is the only one to get it.

    Raises Unauthenticated if no route is left.
    """
    if not any(map(TAKES_CLIENT_KEY, routes)):
        return routes
    kept: list[Route] = []
    owner = ""
    for route in routes:
        if not route.upstream.takes_client_key:
            kept.append(route)
            continue
        owner = owner or route.upstream.url
        if context.credentials and route.upstream.url == owner:
            headers = (*route.upstream.headers, *context.credentials)
            # The number of the lane stands for the key, so that each key has circuits of its own.
            written = "\0".join([value for _, value in context.credentials]).encode("utf-8", "surrogateescape")
            lane = int.from_bytes(blake2b(written, digest_size=6).digest(), "big")
            kept.append(replace(route, upstream=replace(route.upstream, headers=headers, lane=lane)))
    if not kept:
        raise Unauthenticated(NEEDED, should_retry=False)
    return tuple(kept)


def told_to_owner(error: GatewayError, context: Context) -> GatewayError:
    """Return the error as the owner of the key may read it: a refusal of the key is about theirs, not the gateway's."""
    words = error.said.text if error.said is not None else ""
    values = [value for _, value in context.credentials]
    tokens = [value.partition(" ")[2].strip() for value in values]
    for secret in filter(None, (*values, *tokens)):
        error.message, words = error.message.replace(secret, REMOVED), words.replace(secret, REMOVED)
    if error.said is not None:
        error.said = UpstreamWords(error.said.status, words)
    if error.relayed is not None:
        error.relayed = {**error.relayed, "message": error.message}
    if isinstance(error, CredentialsRefused):
        refused = Unauthenticated(words or "The upstream refused your key.", should_retry=False)
        refused.said = error.said
        return refused
    if isinstance(error, BillingProblem):
        error.message = words or "Your account at the upstream has no credit left."
    return error


def account_lines(answer: Answer) -> str:
    return "".join(
        f"{name}: {value}\r\n"
        for name, value in answer.headers.items()
        if name.startswith(ACCOUNT_PREFIXES) or name in ACCOUNT_HEADERS
    )
