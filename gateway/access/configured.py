"""Build the parts that identify clients from settings: configured keys, identity, sign-in."""

from gateway.access.directory import Directory
from gateway.access.identity.identity import Identity
from gateway.access.identity.sign_in import SignIn
from gateway.access.keys import ClientKeys
from gateway.settings import Settings


def to_client_keys(settings: Settings, secret: bytes) -> ClientKeys:
    """Return the keys and limits of the settings and of gateway.toml."""
    given = None if settings.auth == "off" else settings.keys
    return ClientKeys(given, secret, settings.config.access.file_access())


def to_identity(settings: Settings, secret: bytes, before: Identity | None = None) -> Identity | None:
    """Return the identity of `[identity]`, or None without issuers.

    `before`: the identity that this one replaces. Signing keys of unchanged issuers are taken over from it.
    """
    section = settings.config.access.identity
    if not section.issuers:
        return None
    identity = Identity(section, secret, str(settings.public_url or "").rstrip("/"))
    for name, issuer in () if before is None else before.issuers.items():
        if name in identity.issuers and identity.issuers[name].section == issuer.section:
            identity.issuers[name] = issuer
    return identity


def sign_in_of(directory: Directory) -> SignIn | None:
    """Return the sign-in of people; None if it is not configured, or there is no Redis."""
    identity = directory.identity
    section = None if identity is None else identity.section.sign_in
    if identity is None or section is None or directory.store is None:
        return None
    return SignIn(identity, section, directory.store.server)
