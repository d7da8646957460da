"""Removal of secrets, private addresses and file paths from text that an upstream wrote.

An upstream may repeat what it was sent, its key included. Text is therefore compared with the configured secrets
themselves, in each form in which servers repeat them: plain, escaped, percent-encoded, base64, hex; whole or a long
part. Patterns remove what is not configured here: private addresses, file paths, credentials of third parties, and the
operator's accounts at the upstream. Public links stay, since refusals refer to documentation. Only errors and names are
redacted, never the answer of a model.
"""

import html
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache, partial
from struct import Struct
from typing import Any, Final
from urllib.parse import SplitResult, quote, quote_plus, urlsplit

import orjson

from gateway.errors import GatewayError

REMOVED: Final = "[removed]"

# Limit of an upstream's message in characters. Headers and log lines cut names further.
MAX_MESSAGE: Final = 2048
MAX_NAME: Final = 256

# Length of the runs by which secrets are found. A shorter secret is not looked for: "test" is a word of many messages.
PIECE: Final = 6
# A run of this length that text shares with a secret is removed. Documentation quotes prefixes of nine ("sk-or-v1-").
LONG_RUN: Final = 12
# Secrets below this length are indexed at each offset, longer ones at each PIECE, one of which is in any LONG_RUN.
SHORT_SECRET: Final = 2 * LONG_RUN
# Values that local servers ask for where they need no key (documentation of Ollama, LM Studio, llama.cpp, 2026-11).
PLACEHOLDERS: Final = frozenset({"lm-studio", "no-key-required", "not-needed", "ollama", "sk-no-key-required"})

LOWER_CASE: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}  # keeps the length, unlike lower()

# Any scheme: addresses of databases have passwords too.
LINK: Final = re.compile(r"""([a-z][a-z0-9+.-]{0,15}://[^\s"'<>`,;]+)""", re.IGNORECASE)
LINK_END: Final = ".:!?)]}*_"  # punctuation of the sentence, not of the link
# Any other port belongs to a private deployment. Its address is not shown to clients.
PUBLIC_PORTS: Final = (None, 80, 443)
PRIVATE_DOMAINS: Final = ("corp", "home", "internal", "intranet", "invalid", "lan", "local", "localdomain", "localhost")
QUERY: Final = re.compile("[?&]")
# Parameters of signed links and of APIs that take their key in the address.
SECRET_PARAMETER: Final = re.compile(
    "key|token|sig|secret|passw|auth|credential"
    r"|\A(?:project|organi[sz]ation|org|account|tenant|subscription|workspace)(?:[_-]?id)?\Z",
    re.IGNORECASE,
)

# Known prefixes of credentials, with at least one digit: "sk-learn" is a library.
CREDENTIAL: Final = r"\b(?:sk|pk|gsk|xai|hf)[-_](?=\S{0,64}\d)[\w.*-]{8,}|\b(?:AIza|AKIA|eyJ)[\w.-]{16,}"
# Ids and names of the operator's account, as refusals of a limit or a key quote them: OpenAI's and Groq's organizations
# and projects, Stripe's customers, AWS's accounts, Google's projects, Azure's subscriptions, addresses of e-mail.
# A word with the form of an address is removed though it may be something else (`tool@server.com`): who reads the error
# knows the names in its own request, and an address that was shown cannot be taken back. Names of files stay: no
# top-level domain ends like these.
FILE_ENDS: Final = "(?:gif|jpe?g|json|js|pdf|png|svg|toml|ts|webp|ya?ml)"
UUID: Final = r"[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}"
ACCOUNT: Final = (
    r"\b(?:org|proj|acct|wrkspc|cus|ak)[-_](?=[a-z]{0,64}\d)[a-z\d]{8,64}\b"
    # These words are also prefixes of names of tools and fields, which are shorter.
    r"|\b(?:organi[sz]ation|project|account|user|team|tenant|workspace)[-_](?=[a-z]{0,64}\d)[a-z\d]{16,64}\b"
    r"|\barn:[\w-]{1,16}:[\w-]{1,32}:[\w-]{0,32}:\d{0,12}:[\w:/.-]{1,256}"
    r"|\b(?:projects|subscriptions|organizations|accounts|tenants|resourceGroups)/(?=[\w.:-]{0,64}[\d-])[\w.:/-]{4,256}"
    r"|<ak-[^<>\s]{1,64}>"
    r"|(?<![\w.+-])(?!(?:support|help|sales|contact|info)[\w-]{0,16}@)[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}"
    rf"(?!{FILE_ENDS}\b)[a-z]{{2,24}}\b(?!\.\w)"
)
# Numbers and UUIDs are those of an account where a word before them says so; the word stays.
ACCOUNT_NUMBER: Final = re.compile(
    rf"(\b(?:account|organi[sz]ation|org|project|subscription|tenant|team|user|workspace)"
    rf"(?: |_)?(?:id|number|no)?[\s:='\"`(\[]{{1,4}})(?:{UUID}|\d{{9,20}})\b",
    re.IGNORECASE,
)
SOURCE_SUFFIXES: Final = "(?:py|pyc|pyx|so|c|cc|cpp|cu|h|hpp|rs|go|js|ts|rb|java|kt|cs|php|lua)"
FILE_SUFFIXES: Final = (
    f"(?:{SOURCE_SUFFIXES}|log|cfg|conf|ini|toml|ya?ml|env|sock|pem|crt|gguf|safetensors|ptx?|bin|db)"
)
ROOTS: Final = (
    "(?:bin|boot|etc|home|lib(?:32|64)?|media|mnt|nix|opt|private|proc|root|run|sbin|snap|srv|sys|tmp|usr|var|vol"
    "|Applications|Library|Users|Volumes)"
)
SEGMENTS: Final = r"""[^\s"'<>`,;:()\[\]]{1,512}"""
# A space belongs to the path where another folder follows it.
WINDOWS_SEGMENTS: Final = r"""(?:[^\s"'<>|?*(),;]|\ (?=[^\s\\]{1,64}\\)){1,512}"""
# Paths of APIs, JSON pointers and references (/v1/chat, /data/0, #/$defs/B) are no file paths.
UNSAFE: Final = re.compile(
    "|".join(
        (
            CREDENTIAL,
            ACCOUNT,
            r"\b(?:key|bearer|basic)[-_ ](?=\S{0,64}\d)[\w.*-]{8,}",
            # Host and port, IPv4, IPv6 in brackets, hosts of private domains. "tools.0.name:25" is a field's column.
            r"(?<![\w.-])(?:(?!\d+\.)[\w-]{1,63}\.){1,8}[a-z][\w-]{1,62}:\d{1,5}\b|\blocalhost:\d{1,5}\b",
            r"\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d{1,5})?",
            r"\[(?=[\da-f.]{0,45}:[\da-f.]{0,45}:)[\da-f:.]{3,45}\](?::\d{1,5})?",
            rf"(?<![\w.-])(?:[\w-]{{1,63}}\.){{2,9}}(?:{'|'.join(PRIVATE_DOMAINS)})(?![\w-])",
            # In a stack trace, below a root folder, with a file's suffix, of source code, in a home folder, on Windows.
            r"\bFile \\?\"[^\"]{1,300}\"(?:, line \d{1,6})?(?:, in \w{1,80})?",
            rf"(?<![\w/.#$~:-])/{ROOTS}/{SEGMENTS}",
            rf"(?<![\w/.#$~:-])/(?:[\w.@+-]{{1,128}}/){{1,16}}[\w.@+-]{{1,128}}\.{FILE_SUFFIXES}\b(?::\d{{1,6}})?",
            rf"(?<![\w/.-])(?:[\w.-]{{1,64}}/){{1,16}}[\w.-]{{1,64}}\.{SOURCE_SUFFIXES}\b(?::\d{{1,6}})?",
            rf"(?<![\w/])~/{SEGMENTS}",
            rf"\b[A-Z]:\\{{1,2}}{WINDOWS_SEGMENTS}|\\\\[\w.-]{{1,64}}\\{WINDOWS_SEGMENTS}",
        )
    ),
    re.IGNORECASE,
)
IDS_IN_LINKS: Final = re.compile(f"{CREDENTIAL}|{ACCOUNT}", re.IGNORECASE)

# Of a secret's form: where in it a piece is.
Found = tuple[str, int]
# Parts of secrets, and a function from the length of a name to one that cuts windows out of it.
Sieve = tuple[frozenset[bytes], Callable[[int], Callable[[bytes], tuple[bytes, ...]]]]


class Redactor:
    """Remove `secrets` in any form, and addresses of `hosts`, which are those of upstreams that are not public.

    Immutable. Without secrets only the patterns apply.
    """

    __slots__ = ("_hosts", "_name", "_pieces", "_sieves")

    def __init__(self, secrets: Iterable[str] = (), hosts: Iterable[str] = ()) -> None:
        pieces: dict[str, dict[Found, None]] = {}
        forms = {form for secret in secrets if is_secret(secret) for form in forms_of(secret)}
        self._sieves = tuple(to_sieves(forms))
        for form in forms:
            for offset in _offsets(form):
                pieces.setdefault(form[offset : offset + PIECE], {})[form, offset] = None
        self._pieces = {piece: tuple(found) for piece, found in pieces.items()}
        names = "|".join(sorted({re.escape(host) for host in hosts}, key=len, reverse=True))
        self._hosts = (
            re.compile(rf"(?:[\w-]{{1,63}}\.){{0,8}}\b(?:{names})(?![\w-])(?::\d{{1,5}})?", re.IGNORECASE)
            if names
            else None
        )
        # A process meets the same few models and providers over and over.
        self._name = lru_cache(maxsize=1024)(self._without_secrets)

    def text(self, text: str) -> str:
        """Return a message without secrets, private addresses and file paths."""
        parts = LINK.split(self._without_secrets(text))
        return "".join([self._link(part) if at % 2 else self._plain(part) for at, part in enumerate(parts)])

    def error(self, error: GatewayError) -> None:
        """Redact the parts of a failure that clients see, in place."""
        error.message = self.text(error.message[:MAX_MESSAGE])
        error.args = (error.message,)
        error.provider = self.name(error.provider)
        if error.details:
            error.details = {
                name: self.text(value) if isinstance(value, str) else value for name, value in error.details.items()
            }
        if error.relayed is not None:
            error.relayed = self.value(error.relayed)

    def value(self, value: Any) -> Any:
        """Return a JSON value with redacted texts, at any depth. Keys of objects stay."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {key: self.value(inner) for key, inner in value.items()}
            case list():
                return [self.value(inner) for inner in value]
            case _:
                return value

    def name(self, text: str | None) -> str | None:
        """Redact the name of a model or provider. It may look like a path, so only secrets are removed. Cached."""
        return None if text is None else self._name(text[:MAX_NAME])

    def identifier(self, text: str | None) -> str | None:
        """Redact the id of an answer, as `name` does but without caching: every answer has a new id."""
        return None if text is None else self._without_secrets(text[:MAX_NAME])

    def listed(self, text: str) -> str:
        """Redact the id or name of a listed model. It may be long and look like a path, so only secrets are removed."""
        return self._without_secrets(text)

    def _plain(self, text: str) -> str:
        text = ACCOUNT_NUMBER.sub(rf"\1{REMOVED}", text)
        return UNSAFE.sub(REMOVED, text if self._hosts is None else self._hosts.sub(REMOVED, text))

    def _link(self, text: str) -> str:
        """Return the link if it leads to a public site, without a query that contains a credential."""
        link = text.rstrip(LINK_END)
        end = text[len(link) :]
        try:
            public = is_public(urlsplit(link))
        except ValueError:  # a port or an IPv6 address that is none
            public = False
        if not public or IDS_IN_LINKS.search(link) or (self._hosts is not None and self._hosts.search(link)):
            return REMOVED + end
        # Split, not matched as a whole: a pattern with a run before and after the word takes cubic time.
        address, *parameters = QUERY.split(link)
        named = (one.partition("=") for one in parameters)
        if any(sign and SECRET_PARAMETER.search(name) for name, sign, _ in named):
            return f"{address}?{REMOVED}{end}"
        return text

    def _without_secrets(self, text: str) -> str:
        if len(text) <= MAX_NAME and text.isascii() and self._is_free(text.encode().lower()):
            return text
        lowered = text.lower() if text.isascii() else text.translate(LOWER_CASE)
        kept, end = [], 0
        for start, stop in self._spans(lowered):
            kept += [text[end:start], REMOVED]
            end = stop
        return "".join([*kept, text[end:]])

    def _is_free(self, name: bytes) -> bool:
        """Return True if a name cannot contain a secret. Fast for new names too, since every answer has a new id."""
        for grams, windows in self._sieves:  # noqa: SIM110 `all` of a generator takes 2,500 instructions more, of 8,500
            if not grams.isdisjoint(windows(len(name))(name)):
                return False
        return True

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the positions of secrets, in order and without overlaps."""
        at = end = 0
        while at <= len(text) - PIECE:
            runs = [common_run(text, at, *found) for found in self._pieces.get(text[at : at + PIECE], ())]
            start, stop = max([run for run in runs if run is not None], key=lambda run: run[1], default=(at, at))
            if stop > at:
                yield max(start, end), stop
                at = end = stop
            else:
                at += 1


def is_secret(value: str) -> bool:
    return len(value) >= PIECE and value.lower() not in PLACEHOLDERS


def forms_of(secret: str) -> set[str]:
    """Return the forms in which a secret may occur in a message, in lower case. Base64 has three alignments."""
    raw = secret.encode("utf-8", "surrogateescape")
    escaped = orjson.dumps(raw.decode("utf-8", "replace"))[1:-1].decode()
    forms = {secret, escaped, escaped.replace("/", "\\/"), html.escape(secret), raw.hex()}
    forms |= {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    for encode in (b64encode, urlsafe_b64encode):
        for before, start in enumerate((0, 2, 3)):  # characters that bytes beside the secret take part in are left out
            encoded = encode(b"\0" * before + raw).rstrip(b"=").decode()
            forms.add(encoded[start:] if (before + len(raw)) % 3 == 0 else encoded[start:-1])
    return {form.translate(LOWER_CASE) for form in forms if len(form) >= PIECE}


def common_run(text: str, at: int, form: str, offset: int) -> tuple[int, int] | None:
    """The run that text and form share around a piece; None if it is too short to be more than chance."""
    start, first = at, offset
    while start > 0 and first > 0 and text[start - 1] == form[first - 1]:
        start, first = start - 1, first - 1
    stop, last = at + PIECE, offset + PIECE
    while stop < len(text) and last < len(form) and text[stop] == form[last]:
        stop, last = stop + 1, last + 1
    is_cut = first == 0 and stop == len(text)  # messages are cut to a length, and a secret with them
    needed = PIECE if is_cut else needed_run(form)
    return (start, stop) if stop - start >= needed else None


def needed_run(form: str) -> int:
    """Return the length of a shared run from which it is removed, unless the text is cut there."""
    return min(LONG_RUN, max(PIECE, len(form) * 3 // 4))


def to_sieves(forms: Collection[str]) -> Iterator[Sieve]:
    """Yield the sieves that find each ASCII name with a run that is removed, and hardly any other.

    Of windows that are a step apart, one is in each run, and it is a part of the secret. The shorter the run, the
    shorter are the windows, and the more names have one by chance. Forms with shorter runs, of which there are few,
    therefore have their own sieve.
    """
    short = {form for form in forms if needed_run(form) < LONG_RUN}
    for sieved in filter(None, (short, set(forms) - short)):
        run = min(map(needed_run, sieved))
        gram = (run + 1) // 2
        parts = {form[at : at + gram] for form in sieved for at in range(len(form) - gram + 1)}
        grams = frozenset(part.encode() for part in parts if part.isascii())
        yield grams, lru_cache(maxsize=MAX_NAME + 1)(partial(to_windows, gram, run + 1 - gram))


def to_windows(gram: int, step: int, length: int) -> Callable[[bytes], tuple[bytes, ...]]:
    """Return a function that cuts windows out of a name of this length. The last is at its end, where it may be cut."""
    count = max(0, 1 + (length - gram) // step)
    padding = length - gram - (count - 1) * step
    return Struct(f"{padding}x" + f"{step - gram}x".join([f"{gram}s"] * count)).unpack if count else lambda _: ()


def is_public(target: SplitResult) -> bool:
    """Return True for an address of the public web: a domain, no user, no explicit port. Raises ValueError."""
    host = target.hostname or ""
    domain = host.rpartition(".")[2]
    return (
        target.scheme.lower() in ("http", "https")
        and "." in host
        and domain.isalpha()
        and domain not in PRIVATE_DOMAINS
        and target.port in PUBLIC_PORTS
        and "@" not in target.netloc
    )


def _offsets(form: str) -> Iterator[int]:
    yield from range(0, len(form) - PIECE + 1, 1 if len(form) < SHORT_SECRET else PIECE)
    yield len(form) - PIECE
