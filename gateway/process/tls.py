"""TLS on the client listener, where no balancer in front of it has the certificate."""

import ssl
from pathlib import Path
from typing import Final

from gateway.settings import Settings, SettingsError

# A client that does not finish its handshake is disconnected.
HANDSHAKE_SECONDS: Final = 10.0


def to_tls(settings: Settings) -> ssl.SSLContext | None:
    """Raises SettingsError for a certificate that cannot be used."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise SettingsError("GATEWAY_TLS_CERTIFICATE: TLS needs it and GATEWAY_TLS_KEY")
    try:
        return server_context(Path(certificate), Path(key))
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(f"GATEWAY_TLS_CERTIFICATE: cannot use {certificate} with {key}: {reason}") from None


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Raises OSError for files that cannot be read, ssl.SSLError for what is no certificate with its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    return context
