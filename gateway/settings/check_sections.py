"""Problems of gateway.toml that only the file as a whole shows: names that mean nothing, forms that exclude each other.

`Sections` checks the types. Errors stop the start, warnings are logged and shown by `dragoman check`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import ErrorDetails

from gateway.schemas.anthropic import MessagesRequest
from gateway.schemas.openai import ChatRequest
from gateway.settings.config_file import ConfigFile
from gateway.settings.lines import Location
from gateway.settings.sections import (
    CandidateSection,
    Prices,
    RouteSection,
    Sections,
    UpstreamSection,
    has_placeholder,
)
from gateway.settings.wording import Forms, section_problem, suggestion
from gateway.upstream.http.forwarding import NEVER_FORWARDED, OWN_HEADERS
from gateway.upstream.routes.policy import to_policy
from gateway.upstream.routes.route import Candidate, RouteRule
from gateway.upstream.vendors.registry import COMPATIBLE, HOSTED

NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# The one-upstream form, with the key of an upstream's table, or the section, that takes its place.
ONE_UPSTREAM: Final = {
    "upstream_url": "url",
    "upstream_api_key": "key",
    "upstream_name": "the table's name",
    "upstream_flavor": "vendor",
    "model_big": "[routes]",
    "model_small": "[routes]",
    "aliases": "[routes]",
}
FORMS: Final[Forms] = (
    (("upstreams", "*", "prices"), Prices),
    (("upstreams", "*"), UpstreamSection),
    (("routes", "*", "max_price"), Prices),
    (("routes", "*", "to", "*"), CandidateSection),
    (("routes", "*", "overflow"), CandidateSection),
    (("routes", "*"), RouteSection),
)

# How a section itself is written.
FORM_OF_TABLE: Final[Mapping[Location, str]] = {
    ("upstreams",): 'expected a table of upstreams by name: [upstreams], then NAME = { url = "https://host/v1" }',
    ("routes",): 'expected a table of routes by model: [routes], then "MODEL" = "UPSTREAM"',
}
PARAMETERS: Final = frozenset(MessagesRequest.__annotations__) | frozenset(ChatRequest.__annotations__)
# A variable that is written without its braces, or not as a name, and would be sent as a key.
UNEXPANDED: Final = re.compile(r"\$\w*|\$\{\}")

# Models of an upstream that a problem lists.
MAX_LISTED: Final = 50

Finding = tuple[Location, str]


@dataclass(frozen=True, slots=True)
class WiderRules:
    """The patterns of routes, by what is in front of their first `*`: files with 50,000 routes have few to compare.

    Each list has the patterns with the most literal characters first.
    """

    by_start: Mapping[str, Sequence[RouteRule]] = field(repr=False)
    lengths: Sequence[int] = ()  # of the starts

    @classmethod
    def of(cls, patterns: Iterable[str]) -> "WiderRules":
        by_start: dict[str, list[RouteRule]] = {}
        rules = [RouteRule(pattern, (Candidate(""),)) for pattern in patterns if "*" in pattern]
        for rule in sorted(rules, key=lambda rule: -rule.literals):
            by_start.setdefault(rule.pattern.partition("*")[0], []).append(rule)
        return cls(by_start, sorted({len(start) for start in by_start}))

    def than(self, pattern: str) -> str | None:
        """Return the narrowest of the patterns that match all that this one does; None if there is no other."""
        name = pattern.replace("*", "\0")
        found: RouteRule | None = None
        for length in self.lengths:
            others = (one for one in self.by_start.get(name[:length], ()) if one.pattern != pattern)
            other = next((one for one in others if one.matches(name)), None)
            if other is not None and (found is None or other.literals > found.literals):
                found = other
        return None if found is None else found.pattern


@dataclass(frozen=True, slots=True)
class Findings:
    """Lines for people, each with file, line, key and the way out."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def check_sections(sections: Sections, file: ConfigFile) -> Findings:
    errors = [*_upstreams(sections), *_routes(sections), *_policies(sections)]
    warnings = [*_repeated(sections, file), *_unused(sections), *_keyless(sections), *_misspelled(sections)]
    return Findings(tuple(file.problem(*each) for each in errors), tuple(file.problem(*each) for each in warnings))


def to_problem(detail: ErrorDetails, file: ConfigFile) -> str:
    """Return the line for an error of pydantic's."""
    location = tuple(str(part) for part in detail["loc"])
    if location in FORM_OF_TABLE:
        return file.problem(location, FORM_OF_TABLE[location])
    in_route = location[0] == "routes" and location[2:3] == ("to",)  # the short forms have no `to`
    return section_problem(detail, file, FORMS, (*location[:2], *location[3:]) if in_route else None)


def without_wrong(given: Mapping[str, Any], details: Iterable[ErrorDetails]) -> dict[str, Any]:
    """Return the sections without the keys that are wrong. An upstream stays, since routes name it."""
    cleaned = {name: dict(table) if isinstance(table, dict) else {} for name, table in given.items()}
    for detail in details:
        section, *rest = (str(part) for part in detail["loc"])
        table = cleaned[section]
        if not rest or rest[0] not in table:
            continue
        name, inner = rest[0], table[rest[0]]
        if len(rest) > 1 and isinstance(inner, dict) and rest[1] in inner and rest[1] != "to":
            table[name] = {key: value for key, value in inner.items() if key != rest[1]}
        elif section == "upstreams":
            table[name] = {}
        else:
            del table[name]
        if section == "upstreams" and "url" not in table[name]:
            table[name] = {**table[name], "url": "http://not-given.invalid/v1"}
    return cleaned


def _upstreams(sections: Sections) -> Iterator[Finding]:
    for name, upstream in sections.upstreams.items():
        location: Location = ("upstreams", name)
        if not NAME.fullmatch(name):
            yield location, "expected a name of up to 64 of A-Z a-z 0-9 _ . -"
        for header in sorted(OWN_HEADERS & {header.lower() for header in upstream.headers}):
            yield (*location, "headers"), f"the header {header} is set by the gateway itself"
        if upstream.url is None and upstream.row(name) is COMPATIBLE:
            yield location, 'has no url; set url = "https://host/v1", or vendor = "…" for a hosted API'
        elif upstream.url is None and has_placeholder(upstream.row(name).base):
            yield location, f"has no url; it differs between accounts, as in {upstream.row(name).base}"
        if any(UNEXPANDED.fullmatch(key.get_secret_value()) for key in upstream.key):
            yield (*location, "key"), "is no key but the name of a variable; write ${NAME}"
        if upstream.auth == "client" and upstream.key:
            yield (*location, "key"), 'is not used with auth = "client", which sends the key of each caller'
        for header in NEVER_FORWARDED.intersection(upstream.forward_headers):
            yield (
                (*location, "forward_headers"),
                f"{header} is never forwarded; set headers for one of the operator's own",
            )
        if upstream.batch is not None and (upstream.concurrency or 0) < upstream.batch:
            yield (*location, "batch"), "is a part of concurrency, which is not set or smaller"


def _routes(sections: Sections) -> Iterator[Finding]:
    if sections.routes and not sections.upstreams:
        yield ("routes",), 'there are no [upstreams] to route to; add one, such as openrouter = { key = "${NAME}" }'
        return
    models = {name: frozenset(upstream.models) for name, upstream in sections.upstreams.items()}
    for pattern, route in sections.routes.items():
        location: Location = ("routes", pattern)
        if not pattern.strip() or pattern != pattern.strip():
            yield location, "expected the name of a model, in which * matches any characters"
        for candidate in route.named:
            if candidate.upstream not in sections.upstreams:
                yield location, _unknown_upstream(candidate, sections)
        for candidate in route.named:
            yield from ((location, text) for text in _model_problems(candidate, pattern, sections, models))
        if any(_is_alone(index, route.to) for index in range(len(route.to))):
            yield (*location, "share"), "candidates with shares stand beside one another; give the next one a share too"
        if route.require and not any(_meets(sections, route, candidate) for candidate in route.to):
            wanted = ", ".join(f'{name} = "{value}"' for name, value in route.require.items())
            yield (*location, "require"), f"no candidate's upstream has {wanted}"


def _policies(sections: Sections) -> Iterator[Finding]:
    for location, name, value in _parameters(sections):
        try:
            to_policy(name, value)
        except ValueError as error:
            yield location, str(error)


def _misspelled(sections: Sections) -> Iterator[Finding]:
    """Find names that are nearly those of parameters. Others are passed on: servers have their own."""
    near: dict[str, str] = {}
    for location, name, _ in _parameters(sections):
        first = name.partition(".")[0]
        if first not in near:
            near[first] = "" if first in PARAMETERS else suggestion(first, PARAMETERS, 0.88)
        if close := near[first]:
            yield location, f'is no parameter of Messages or chat completions; did you mean "{close}"?'


def _parameters(sections: Sections) -> Iterator[tuple[Location, str, Any]]:
    """Yield place, name and rule of each parameter of the file."""
    tables: list[tuple[Location, Mapping[str, Any]]] = [(("params",), sections.params)]
    for name, upstream in sections.upstreams.items():
        tables.append((("upstreams", name, "params"), upstream.params))
    for pattern, route in sections.routes.items():
        own = (route.params, *[one.params for one in route.named])
        tables += [(("routes", pattern, "params"), table) for table in own if table]
    for location, table in tables:
        yield from (((*location, name), name, value) for name, value in table.items())


def _meets(sections: Sections, route: RouteSection, candidate: CandidateSection) -> bool:
    upstream = sections.upstreams.get(candidate.upstream)
    return upstream is None or upstream.has_labels(candidate.upstream, route.labels)


def _model_problems(
    candidate: CandidateSection, pattern: str, sections: Sections, models: Mapping[str, frozenset[str]]
) -> Iterator[str]:
    model, allowed = candidate.model or "", models.get(candidate.upstream)
    if model.count("*") > pattern.count("*"):
        yield f"\"{model}\" has more * than the route's name: each stands for what one of the name's matches"
    if allowed and model and "*" not in model and model not in allowed:
        names = sections.upstreams[candidate.upstream].models
        listed = ", ".join(f'"{one}"' for one in names[:MAX_LISTED])
        listed += f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
        yield f'"{model}" is not among the models of {candidate.upstream}: {listed}'


def _is_alone(index: int, candidates: Sequence[CandidateSection]) -> bool:
    """Return True for a candidate with a share in a list in which no neighbour has one."""
    beside = [*candidates[max(index - 1, 0) : index], *candidates[index + 1 : index + 2]]
    return candidates[index].share is not None and bool(beside) and all(one.share is None for one in beside)


def _unknown_upstream(candidate: CandidateSection, sections: Sections) -> str:
    name, upstreams = candidate.upstream, sections.upstreams
    text = f'no upstream is named "{name}"'
    if candidate.to in sections.routes:
        return f"{text}; a route leads to upstreams, not to another route: repeat its candidates"
    close = suggestion(name, upstreams)
    if close:
        return f'{text}; did you mean "{close}"?'
    if candidate.model is not None:
        return f'{text}; for the model of that name write "{next(iter(upstreams))}/{candidate.to}"'
    return f"{text}; the upstreams are {', '.join(upstreams)}"


def _repeated(sections: Sections, file: ConfigFile) -> Iterator[Finding]:
    """Find routes without effect, and candidates that a list holds twice."""
    wider = WiderRules.of(sections.routes)
    for pattern, route in sections.routes.items():
        for index, candidate in enumerate(route.to):
            if candidate in route.to[:index]:
                yield ("routes", pattern), f'lists "{candidate.to}" twice'
        other = wider.than(pattern)
        if other is not None and sections.routes[other] == route:
            line = file.line_of(("routes", other))
            yield ("routes", pattern), f'lists the same candidates as "{other}" at line {line}'


def _unused(sections: Sections) -> Iterator[Finding]:
    used = {candidate.upstream for route in sections.routes.values() for candidate in route.named}
    if not sections.routes and len(sections.upstreams) > 1:
        names = ", ".join(f'"{name}"' for name in sections.upstreams)
        yield ("upstreams",), f'there are no [routes]; add one, such as "*" = [{names}]'
        return
    for name in sections.upstreams:
        if sections.routes and name not in used:
            yield ("upstreams", name), "no route names this upstream"


def _keyless(sections: Sections) -> Iterator[Finding]:
    for name, upstream in sections.upstreams.items():
        has_key = (
            upstream.key
            or upstream.auth in ("client", "none")
            or {"authorization", "x-api-key"} & upstream.headers.keys()
        )
        if upstream.row(name) in HOSTED and upstream.url is None and not has_key:
            yield ("upstreams", name), 'has no key; set key = "${NAME}" with the variable that holds it'
