"""The secrets among the settings, and hosts that are not public: what no message may repeat."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AnyUrl, SecretStr

from gateway.access.keyring import Keyring
from gateway.settings.settings import Settings


def secrets_of(settings: Settings) -> Iterator[str]:
    """Keys of upstreams, clients and the admin listener, the signing keys, and every password in an address."""
    if settings.secret is not None:
        yield from (key.decode() for _, key in Keyring.parse(settings.secret.get_secret_value()).keys)
    yield from (key for _, key in settings.keys)
    for name in Settings.model_fields:
        yield from _secrets_in(getattr(settings, name))


def private_hosts_of(settings: Settings) -> Iterator[str]:
    """The upstream's host, unless it is OpenRouter; with its port where the name alone may be an ordinary word."""
    address = urlsplit(settings.base_url)
    if settings.vendor.flavor == "openrouter" or address.hostname is None:
        return
    if "." in address.hostname:
        yield address.hostname
    elif address.port is not None:
        yield f"{address.hostname}:{address.port}"


def passwords_in(url: str) -> Iterator[str]:
    """As written and as meant, from before the host and from the query."""
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
