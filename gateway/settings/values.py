"""Types of settings, and their rules beyond pydantic's.

Surrounding white space is removed from every value, so the line end of a Secret made with `echo` does no harm. No
message repeats a value, since it may be a secret.
"""

import difflib
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, AnyHttpUrl, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from gateway.access.keyring import Keyring
from gateway.access.networks import check_networks
from gateway.redis.url import check_url
from gateway.simulator.vendors.rows import ALL, SIMULATED_NAMES
from gateway.upstream.vendors.registry import VENDORS

# A line end in a value would split a header or a log line.
CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f]")
HEADER_NAME: Final = re.compile(r"[a-z0-9-]{1,128}")
HOST_NAME: Final = re.compile(r"[0-9A-Za-z._-]{1,253}")


WITH_UNIT: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]{1,8})")
SECONDS_OF: Final = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
BYTES_OF: Final = {
    "b": 1.0,
    **dict.fromkeys(("k", "kb", "kib"), 1024.0),
    **dict.fromkeys(("m", "mb", "mib"), 1024.0**2),
    **dict.fromkeys(("g", "gb", "gib"), 1024.0**3),
}

# A scheme and an authority without a path, as browsers write it: https://example.com:8443, chrome-extension://abc.
ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[0-9a-z._:\[\]-]+")
# Any origin; one that the browser keeps to itself, as of a local file; no origin.
FEW_ORIGINS: Final = frozenset({"*", "null", "none"})


class SettingsError(Exception):
    """An unusable setting. Each line of the message names one, and can be shown on a console.

    `in_file`: a configuration file was read.
    """

    def __init__(self, message: str, *, in_file: bool = False) -> None:
        super().__init__(message)
        self.in_file = in_file

    @property
    def exit_status(self) -> int:
        """Return 2 for an unusable configuration file, as for wrong arguments, and 1 for variables alone."""
        return 2 if self.in_file else 1


def matching(pattern: str, expected: str) -> AfterValidator:
    """Return a validator for text of a form. `expected` describes the form to an operator."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


def _check_host(host: str) -> str:
    if not HOST_NAME.fullmatch(host):
        try:
            ip_address(host)
        except ValueError:
            raise ValueError("expected a host name or an IP address, without a port or brackets") from None
    return host


def _check_base_url(url: AnyHttpUrl) -> AnyHttpUrl:
    """Refuse query, fragment and password: paths are appended to the URL, and it is sent in clear text."""
    parts = urlsplit(str(url))
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or a password; the key has a separate variable")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query (?) or a fragment (#): paths are put behind it")
    if found := re.search(r"/(chat/completions|messages|responses)/?$", parts.path):
        raise ValueError(f"must be the base of the API: leave out {found[0].rstrip('/')}, which is put behind it")
    if not parts.port and parts.port is not None:
        raise ValueError("port 0 cannot be connected to")
    if not re.fullmatch(r"[0-9A-Za-z.:_-]+", parts.hostname or ""):
        raise ValueError("the host holds characters that no host name has")
    return url


def _check_credential(secret: SecretStr) -> SecretStr:
    """Refuse characters that a header cannot carry: a line end would break it, and others would be changed."""
    if not re.fullmatch(r"[\x21-\x7e]{1,4096}", secret.get_secret_value()):
        raise ValueError("expected the key alone: visible ASCII characters, without spaces or line ends")
    return secret


def _check_secret_url(url: SecretStr) -> SecretStr:
    """Check an address that contains a credential, such as that of a webhook."""
    parts = urlsplit(url.get_secret_value())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an http or https URL")
    return url


def parse_headers(text: str) -> tuple[tuple[str, str], ...]:
    """Return the headers of `name=value,…`, with percent-decoded values, as in OTEL_EXPORTER_OTLP_HEADERS.

    Raises ValueError for text that cannot be sent as a header.
    """
    found = []
    for entry in filter(None, map(str.strip, text.split(","))):
        name, _, value = entry.partition("=")
        header = (name.strip().lower(), unquote(value.strip()))
        if not HEADER_NAME.fullmatch(header[0]) or not re.fullmatch(r"[\x21-\x7e][\x20-\x7e]*", header[1]):
            raise ValueError("expected name=value,… with names of letters, digits and -, and visible ASCII values")
        found.append(header)
    return tuple(found)


def _check_headers(text: SecretStr) -> SecretStr:
    parse_headers(text.get_secret_value())
    return text


def _check_flavor(flavor: str) -> str:
    if flavor != "auto" and flavor not in VENDORS:
        close = difflib.get_close_matches(flavor, VENDORS, 1)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        raise ValueError(f"expected auto or one of {', '.join(VENDORS)}{hint}")
    return flavor


def _check_simulator(name: str) -> str:
    if name and name != ALL and name not in SIMULATED_NAMES:
        raise ValueError(f"expected {ALL} or one of {', '.join(SIMULATED_NAMES)}")
    return SIMULATED_NAMES.get(name, name)


def to_seconds(value: object) -> object:
    """Parse a time with a unit, such as `2m` or `500ms`; numbers are returned as they are."""
    return _with_unit(value, SECONDS_OF, "a time such as 2m")


def to_bytes(value: object) -> object:
    """Parse a size with a unit, such as `32MB`; numbers are returned as they are. Units are powers of 1024, as in
    Redis."""
    number = _with_unit(value, BYTES_OF, "a size such as 32MB")
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _with_unit(value: object, units: Mapping[str, float], form: str) -> object:
    if not isinstance(value, str):
        return value
    found = WITH_UNIT.fullmatch(value.strip())
    if found is not None and found[2].lower() in units:
        return float(found[1]) * units[found[2].lower()]
    try:
        float(value)
    except ValueError:
        raise ValueError(f"expected a number, or {form}") from None
    return value


def check_text(text: str, *, is_list: bool) -> str:
    """Remove surrounding white space. A list may span lines. Raises ValueError for characters that no setting may
    contain."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid UTF-8") from None
    stripped = text.strip()
    if CONTROL_CHARACTER.search(re.sub(r"\s+", " ", stripped) if is_list else stripped):
        raise ValueError("holds a line end or another control character")
    return stripped


def _to_pairs(value: object, separator: str, form: str) -> object:
    """Parse a comma-separated text, or a list of such texts in the file, into pairs; return other values unchanged."""
    entries = _entries(value)
    if entries is None:
        return value
    pairs = [entry.partition(separator) for entry in entries]
    if any(not left.strip() or not right.strip() for left, _, right in pairs):
        raise ValueError(f"expected a comma-separated list of {form}")
    return tuple((left.strip(), right.strip()) for left, _, right in pairs)


def _to_aliases(value: object) -> object:
    """Parse `name=model,…`, or a table of the file. A name may end in `*`."""
    if isinstance(value, Mapping):
        return tuple(value.items())
    return _to_pairs(value, "=", "name=model")


def _to_keys(value: object) -> object:
    return _to_pairs(value, ":", "tenant:key")


def _to_names(value: object) -> object:
    entries = _entries(value)
    return value if entries is None else entries


def _entries(value: object) -> tuple[str, ...] | None:
    """Return the entries of a text or a list of texts; None for any other value."""
    if isinstance(value, str):
        value = re.split(r"[,\r\n]", value)
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        return None
    return tuple(entry.strip() for entry in value if entry.strip())


def _check_keys(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Raises ValueError if two tenants have the same key: the tenant of a request would be ambiguous."""
    tenants: dict[str, str] = {}
    for tenant, key in pairs:
        if not tenant or not key:
            raise ValueError("a tenant or its key is empty")
        if tenants.setdefault(key, tenant) != tenant:
            raise ValueError(f"tenants {tenants[key]!r} and {tenant!r} have the same key")
    return pairs


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    """Raises ValueError for text that browsers never send as an origin, such as a URL with a path."""
    found = tuple(origin.lower() for origin in origins)
    if any(origin not in FEW_ORIGINS and not ORIGIN.fullmatch(origin) for origin in found):
        raise ValueError(
            "expected a comma-separated list of origins, without a path or a slash at the end, or *, or none"
        )
    return found


def _check_secret(secret: SecretStr) -> SecretStr:
    Keyring.parse(secret.get_secret_value())
    return secret


Host = Annotated[str, AfterValidator(_check_host)]
Port = Annotated[int, Field(ge=0, le=65535)]
Duration = Annotated[float, BeforeValidator(to_seconds)]
Size = Annotated[int, BeforeValidator(to_bytes)]
Seconds = Annotated[Duration, Field(gt=0, le=86_400)]
BaseUrl = Annotated[AnyHttpUrl, AfterValidator(_check_base_url)]
RedisUrl = Annotated[str, AfterValidator(check_url)]
Credential = Annotated[SecretStr, AfterValidator(_check_credential)]
SecretUrl = Annotated[SecretStr, AfterValidator(_check_secret_url)]
SecretHeaders = Annotated[SecretStr, AfterValidator(_check_headers)]
Flavor = Annotated[str, AfterValidator(_check_flavor)]
SimulatedName = Annotated[str, AfterValidator(_check_simulator)]
UpstreamName = Annotated[str, matching(r"[A-Za-z0-9_.-]{0,64}", "up to 64 of A-Z a-z 0-9 _ . -")]
RedisPrefix = Annotated[str, matching(r"[A-Za-z0-9_.:/-]{1,64}", "up to 64 letters, digits and _ . : / -, such as gw:")]
PathPrefix = Annotated[
    str, matching(r"(/[A-Za-z0-9._~-]{1,64}){0,8}", "a path such as /llm, without a slash at its end")
]
# Both are sent in headers, which hold ASCII and Latin-1.
AppTitle = Annotated[str, matching(r"[\x20-\x7e\xa0-\xff]{1,256}", "one line of up to 256 ASCII or Latin-1 characters")]
AppUrl = Annotated[str, matching(r"[\x21-\x7e]{1,2048}", "an address of visible ASCII characters")]
Aliases = Annotated[tuple[tuple[str, str], ...], NoDecode, BeforeValidator(_to_aliases)]
TenantKeys = Annotated[tuple[tuple[str, str], ...], NoDecode, BeforeValidator(_to_keys), AfterValidator(_check_keys)]
NameList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_to_names)]
Origins = Annotated[NameList, AfterValidator(_check_origins)]
Networks = Annotated[NameList, AfterValidator(check_networks)]
SigningSecret = Annotated[SecretStr, AfterValidator(_check_secret)]
