"""The upstreams and routes that an import results in, its notes, and their TOML."""

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import orjson

from gateway.settings.sections import MAX_CANDIDATES
from gateway.upstream.routes.route import Candidate, RouteRule
from gateway.upstream.vendors.registry import COMPATIBLE, HOSTED, VENDORS, vendor_of

NOT_CARRIED: Final = "not carried over"
# Keys that people write where a server asks for none.
NO_KEYS: Final = frozenset(
    {
        "none",
        "null",
        "empty",
        "dummy",
        "fake",
        "fake-key",
        "ollama",
        "lm-studio",
        "anything",
        "not-needed",
        "no-key",
        "sk-no-key-required",
    }
)
REFERENCE: Final = re.compile(r"os\.environ/([A-Za-z_]\w*)|\$\{?([A-Za-z_]\w*)\}?", re.ASCII)
# Keys of an upstream that hold for one server's account: deployments that have them do not share an upstream.
LIMITS: Final = frozenset({"rpm", "tpm", "concurrency"})


@dataclass(slots=True)
class ImportedCandidate:
    to: str
    share: float | None = None
    params: dict[str, Any] = field(default_factory=dict, repr=False)

    def to_plain(self, *, shared: bool) -> str | dict[str, Any]:
        table: dict[str, Any] = {"to": self.to}
        if shared and self.share is not None:
            table["share"] = self.share
        if self.params:
            table["params"] = self.params
        return self.to if len(table) == 1 else table


@dataclass(slots=True)
class ImportedRoute:
    """`candidates` in their order; the first ones may have shares."""

    candidates: list[ImportedCandidate] = field(default_factory=list)
    overflow: ImportedCandidate | None = None
    on_refusal: str = ""
    sort: str = ""

    def add(self, others: Iterable[ImportedCandidate]) -> None:
        """Add fallbacks, once each and without shares."""
        known = {(one.to, repr(one.params)) for one in self.candidates}
        for other in others:
            if (other.to, repr(other.params)) not in known:
                known.add((other.to, repr(other.params)))
                self.candidates.append(ImportedCandidate(other.to, None, other.params))

    def to_plain(self) -> Any:
        shared = sum(one.share is not None for one in self.candidates) > 1
        plain: list[Any] = [one.to_plain(shared=shared) for one in self.candidates]
        to: Any = plain[0] if len(plain) == 1 else plain
        table: dict[str, Any] = {"to": to}
        if self.overflow is not None:
            table["overflow"] = self.overflow.to_plain(shared=False)
        table |= {name: value for name in ("on_refusal", "sort") if (value := getattr(self, name))}
        return to if len(table) == 1 else table


@dataclass(slots=True)
class Imported:
    """`upstreams` by name, `routes` by pattern; `notes`: one line for each setting that is lost or changed.

    `taken`: names of variables that the source refers to. `secrets`: the variable of each key in plain text.
    """

    upstreams: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    routes: dict[str, ImportedRoute] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    def note(self, place: str, text: str = NOT_CARRIED) -> None:
        self.notes.append(f"{place}: {text}")

    def upstream(self, name: str, table: dict[str, Any]) -> str:
        """Add an upstream, or find the one with the same settings. Return its name."""
        if not LIMITS & table.keys():
            for known, other in self.upstreams.items():
                if other == table:
                    return known
        base = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:60] or "upstream"
        url = "" if "vendor" in table else table.get("url", "")
        if url and VENDORS.get(base) in HOSTED and (url.startswith("${") or vendor_of("auto", url) is COMPATIBLE):
            base += "-server"  # the name of a hosted API would set the vendor
        unique = _unlike(self.upstreams, base, "-")
        self.upstreams[unique] = table
        return unique

    def secret(self, text: str, name: str, place: str, ending: str = "API_KEY") -> str:
        """Return a variable's reference, or "" for no key; a key in plain text becomes a variable to set."""
        reference = REFERENCE.fullmatch(text)
        if reference is not None:
            return f"${{{reference[1] or reference[2]}}}"
        if not text or text.lower() in NO_KEYS:
            if text:
                self.note(place, "is taken for no key")
            return ""
        if text not in self.secrets:
            self.secrets[text] = _unlike(self.taken, variable_of(name, ending), "_")
            self.taken.add(self.secrets[text])
            self.note(place, f"set {self.secrets[text]}")
        return f"${{{self.secrets[text]}}}"

    def address(self, text: str, name: str, place: str) -> str:
        """Return a URL that can be written to the file, or the reference of a variable to set instead."""
        text = REFERENCE.sub(lambda found: f"${{{found[1] or found[2]}}}", text.strip())
        if text.startswith("${"):
            return text
        parts = split_address(text)
        if parts.scheme in ("http", "https") and re.fullmatch(r"[0-9A-Za-z.:_\[\]-]+", parts.netloc):
            return parts._replace(query="", fragment="").geturl()
        variable = variable_of(name, "API_BASE")
        self.note(place, f"set {variable}: this is no address of a server without a user or a password")
        return f"${{{variable}}}"

    def find(self, name: str) -> list[ImportedCandidate]:
        """Return the candidates of the route that takes this name; none if no route does."""
        if name in self.routes:
            return self.routes[name].candidates
        rules = [RouteRule(pattern, (Candidate(""),)) for pattern in self.routes if "*" in pattern]
        matching = [rule for rule in rules if rule.matches(name)]
        rule = max(matching, key=lambda one: one.literals, default=None)
        if rule is None:
            return []
        found = self.routes[rule.pattern].candidates
        named = ((one, one.to if "/" in one.to else f"{one.to}/*") for one in found)
        return [ImportedCandidate(rule.fill(to, name), one.share, one.params) for one, to in named]

    def to_toml(self) -> str:
        lines = ["[upstreams]", *(f"{_key(name)} = {_value(table)}" for name, table in self.upstreams.items())]
        lines += ["", "[routes]"]
        lines += [f"{_value(pattern)} = {_value(route.to_plain())}" for pattern, route in self.routes.items()]
        return "\n".join(lines) + "\n"

    def finish(self) -> None:
        """Cut what a gateway.toml has no room for, leave out upstreams that no route asks, put notes in order."""
        for pattern, route in self.routes.items():
            if len(route.candidates) > MAX_CANDIDATES:
                self.note(f'route "{pattern}"', f"only its first {MAX_CANDIDATES} candidates were carried over")
                del route.candidates[MAX_CANDIDATES:]
        asked = {one.to.partition("/")[0] for route in self.routes.values() for one in _all(route)}
        self.upstreams = {name: table for name, table in self.upstreams.items() if name in asked}
        self.notes.sort(key=_line)


def variable_of(name: str, ending: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_").removesuffix("_API") + f"_{ending}"


def name_of(url: str, default: str) -> str:
    """Return a short name for a server: a word of its host."""
    host = "" if url.startswith("${") else urlsplit(url).hostname or ""
    words = host.split(".")
    if host == "localhost" or ":" in host or re.fullmatch(r"[\d.]*", host):
        return default
    if len(words) == 1 or words[-1] in ("local", "internal", "lan", "svc"):
        return words[0]
    return words[-2]


def _all(route: ImportedRoute) -> Iterator[ImportedCandidate]:
    yield from route.candidates
    if route.overflow is not None:
        yield route.overflow


def _line(note: str) -> tuple[str, int]:
    name, _, rest = note.partition(":")
    line = rest.partition(":")[0]
    return name, int(line) if line.isdigit() else 0


def _unlike(taken: Container[str], name: str, mark: str) -> str:
    """Return the name, with a number behind it where it is taken."""
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f"{name}{mark}{number}"
    return unique


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    """Write TOML. Strings are written as JSON, which TOML reads the same except for DEL."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(str(name))} = {_value(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return orjson.dumps(value).decode().replace("\x7f", "\\u007f")


def split_address(url: str) -> SplitResult:
    """Return the parts of a URL, empty ones for a text that is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
