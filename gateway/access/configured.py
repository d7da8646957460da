"""Settings to the parts that know clients: configured keys, identity, sign-in."""

from gateway.access.directory import Directory
from gateway.access.identity.identity import Identity
from gateway.access.identity.sign_in import SignIn
from gateway.access.keys import ClientKeys
from gateway.settings import Settings


def to_client_keys(settings: Settings, secret: bytes) -> ClientKeys:
    """The keys and limits of the settings and of gateway.toml."""
    given = None if settings.auth == "off" else settings.keys
    return ClientKeys(given, secret, settings.config.access.file_access())


def to_identity(settings: Settings, secret: bytes) -> Identity | None:
    section = settings.config.access.identity
    audience = str(settings.public_url or "").rstrip("/")
    return Identity(section, secret, audience) if section.issuers else None


def build_sign_in(settings: Settings, directory: Directory) -> SignIn | None:
    """Sign-in of people; None where it is not configured, or there is no Redis."""
    section, identity = settings.config.access.identity.sign_in, directory.identity
    if section is None or identity is None or directory.store is None:
        return None
    return SignIn(identity, section, directory.store.server)
