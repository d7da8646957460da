"""A self-signed certificate for loopback addresses."""

import subprocess
from pathlib import Path


def make_certificate(folder: Path) -> tuple[str, str]:
    """Return the paths of its chain and its key."""
    chain, key = str(folder / "tls.crt"), str(folder / "tls.key")
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    command = ("openssl", "req", "-x509", *curve, "-nodes", "-days", "2", "-keyout", key, "-out", chain, *subject)
    subprocess.run(command, check=True, capture_output=True)
    return chain, key
