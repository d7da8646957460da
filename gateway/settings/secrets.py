"""Secrets among the settings, and private hosts: no message may repeat them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AnyUrl, SecretStr

from gateway.access.keyring import Keyring
from gateway.settings.settings import Settings
from gateway.settings.values import parse_headers

# Headers of an upstream that hold a credential.
SECRET_HEADERS: Final = re.compile(r"auth|key|token|secret|cookie")


def secrets_of(settings: Settings) -> Iterator[str]:
    """Yield the keys of upstreams, clients and admins, the signing keys, and every password in an address."""
    if settings.secret is not None:
        yield from (key.decode() for _, key in Keyring.parse(settings.secret.get_secret_value()).keys)
    yield from (key for _, key in settings.keys)
    yield from (one.key.get_secret_value() for one in settings.config.access.keys if one.key is not None)
    sign_in = settings.config.access.identity.sign_in
    if sign_in is not None and sign_in.client_secret is not None:
        yield sign_in.client_secret.get_secret_value()
    if settings.otlp_headers is not None:
        yield from (value for _, value in parse_headers(settings.otlp_headers.get_secret_value()))
    for upstream in settings.upstreams.values():
        yield from (key.get_secret_value() for key in upstream.key)
        yield from (value for name, value in upstream.headers.items() if SECRET_HEADERS.search(name))
    for name in Settings.model_fields:
        yield from _secrets_in(getattr(settings, name))


def private_hosts_of(settings: Settings) -> Iterator[str]:
    """Yield the upstreams' hosts, except OpenRouter's; with the port if the name alone may be an ordinary word."""
    found = [(upstream.row(name), upstream.base(name)) for name, upstream in settings.upstreams.items()]
    for vendor, url in found or [(settings.vendor, settings.base_url)]:
        address = urlsplit(url)
        if vendor.flavor == "openrouter" or address.hostname is None:
            continue
        if "." in address.hostname:
            yield address.hostname
        elif address.port is not None:
            yield f"{address.hostname}:{address.port}"


def passwords_in(url: str) -> Iterator[str]:
    """Yield the secrets in a URL, as written and decoded, from before the host and from the query."""
    address = urlsplit(url)
    if address.password:
        yield from (address.password, unquote(address.password))
    yield from (value for name, value in parse_qsl(address.query) if "password" in name)


def _secrets_in(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, str | AnyUrl) and "://" in str(value):
        yield from passwords_in(str(value))
    elif isinstance(value, Mapping):
        yield from (secret for inner in value.values() for secret in _secrets_in(inner))
    elif isinstance(value, tuple | list):
        yield from (secret for inner in value for secret in _secrets_in(inner))
