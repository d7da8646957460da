"""Values of routing: an upstream, a rule with its candidates, and the route that a request takes.

`table` finds the rule for a model's name.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from gateway.upstream.capacity.lane import LaneLimits
from gateway.upstream.models.target import Target, bare_name
from gateway.upstream.routes.policy import RequestPolicy
from gateway.upstream.vendors.registry import OPENROUTER
from gateway.upstream.vendors.vendor import Flavor, Vendor

Dialect = Literal["chat", "messages", "responses"]
DialectChoice = Literal["auto", "chat", "messages", "responses"]

# Claude Code appends this to a model's name to ask for the long context window.
CONTEXT_SUFFIX = re.compile(r"\[1m\]$")


class UpstreamTimeouts(NamedTuple):
    """Seconds. `header` and `first_content` apply while another candidate is left; None: as for the last one.

    With 20 s and 60 s a silent upstream costs a request 20 s before the next candidate is asked; shorter times ask a
    healthy but slow upstream twice.
    """

    connect: float = 5.0
    header: float | None = 20.0
    first_content: float | None = 60.0
    idle: float = 60.0
    total: float = inf


USUAL_TIMEOUTS: Final = UpstreamTimeouts()


@dataclass(frozen=True, slots=True)
class Upstream:
    """One lane of a server: its address and one key.

    `url` is its v1 base, without a slash at the end. `name` is shown in headers, logs and metrics; the lanes of a
    server with several keys share it, and differ in `lane`. `limits`: None for none of ours.
    `has_own_auth`: the operator has chosen the key's header, which is in `headers`. `takes_client_key`: it is
    asked with the key of the caller. `prices`: dollars for a million tokens, read and written. `region` and `data`:
    labels that a route or a key may require. `models`: the only ones that it is asked for; empty for any.
    """

    name: str
    url: str = field(repr=False)
    api_key: str = field(default="", repr=False)
    vendor: Vendor = OPENROUTER
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    dialect: DialectChoice = "auto"
    lane: int = 0
    timeouts: UpstreamTimeouts = USUAL_TIMEOUTS
    limits: LaneLimits | None = None
    has_own_auth: bool = False
    takes_client_key: bool = False
    forward_headers: tuple[str, ...] = ()
    prices: tuple[float | None, float | None] | None = None
    region: str = ""
    models: tuple[str, ...] = ()
    data: str = field(default="", repr=False)

    @property
    def flavor(self) -> Flavor:
        return self.vendor.flavor

    @property
    def circuit(self) -> str:
        """Return the name of its circuit: each key has its own account state."""
        return f"{self.name}#{self.lane + 1}" if self.lane else self.name


@dataclass(frozen=True, slots=True)
class Candidate:
    """`upstream` by name; candidates with a `share` are alternatives.

    `model`: None for the client's own name; each `*` in it is replaced by what one of the pattern's matched.
    """

    upstream: str
    model: str | None = None
    share: float | None = None
    dialect: DialectChoice = "auto"
    policy: RequestPolicy | None = None


@dataclass(frozen=True)
class RouteRule:
    """A line of `[routes]`, or a built-in one, which has line 0.

    `sticky`: a session stays where its prompt is cached. `hedge`: where first content is late, the next candidate is
    asked too. `on_refusal`: whether refused content is asked for at the next candidate. `max_price`: dollars for a
    million tokens of the prompt and of the answer. `overflow`: the candidate for prompts that do not fit into the
    others' windows.
    """

    pattern: str
    candidates: tuple[Candidate, ...]
    line: int = 0
    sticky: bool = True
    hedge: bool = False
    on_refusal: Literal["stop", "next"] = "stop"
    sort: str | None = None
    max_price: tuple[float | None, float | None] | None = None
    overflow: Candidate | None = None
    description: str = ""

    @property
    def is_exact(self) -> bool:
        return "*" not in self.pattern

    @cached_property
    def literals(self) -> int:
        """Return the number of characters that are no wildcard."""
        return len(self.pattern) - self.pattern.count("*")

    def matches(self, name: str) -> bool:
        """Names are client input: each part is looked for once, from left to right, which takes linear time."""
        if self.is_exact:
            return name == self.pattern
        first, *middle, last = self.pattern.split("*")
        at, end = len(first), len(name) - len(last)
        if at > end or not name.startswith(first) or not name.endswith(last):
            return False
        for part in middle:
            found = name.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True

    def fill(self, model: str, name: str) -> str:
        """Return the model with each `*` replaced by what the one in the same place of the pattern matched."""
        if "*" not in model or self.is_exact:
            return model
        first, *middle, last = self.pattern.split("*")
        at, end, taken = len(first), len(name) - len(last), []
        for part in middle:
            found = name.find(part, at, end)
            taken.append(name[at:found])
            at = found + len(part)
        head, *tails = model.split("*")
        return head + "".join(text + tail for text, tail in zip([*taken, name[at:end]], tails, strict=False))

    def name_for(self, candidate: Candidate, model: str) -> str | None:
        """Return the name by which clients get this model of a candidate with a `*`; None if there is none."""
        named = RouteRule(candidate.model or "", ())
        if named.is_exact or named.pattern.count("*") != self.pattern.count("*") or not named.matches(model):
            return None
        name = named.fill(self.pattern, model)
        return name if self.matches(name) and self.fill(named.pattern, name) == model else None

    @cached_property
    def groups(self) -> tuple[int, ...]:
        """Return the group of each candidate: neighbours with shares are one group, any other is one by itself."""
        groups: list[int] = []
        for index, candidate in enumerate(self.candidates):
            joins = index > 0 and candidate.share is not None and self.candidates[index - 1].share is not None
            groups.append(groups[-1] if joins else len(set(groups)))
        return tuple(groups)


@dataclass(frozen=True, slots=True)
class Route:
    """One candidate of a request. `requested` is echoed to the client; `target.model` goes upstream.

    Routes of one `group` are alternatives, each with a `share` of the sessions; groups are tried in their order.
    """

    requested: str
    upstream: Upstream
    dialect: Dialect
    target: Target
    rule: RouteRule = RouteRule("*", ())
    group: int = 0
    share: float | None = None
    policy: RequestPolicy | None = None


def to_dialect(upstream: Upstream, target: Target) -> Dialect:
    """The operator's choice; `auto` is Messages where the vendor's own answers it, and chat elsewhere.

    Compatible servers leave out more of a Messages request than the conversion to chat does, often without an error.
    """
    if upstream.dialect != "auto":
        return upstream.dialect
    # Of Azure, Bedrock, DeepSeek, Z.ai and others, which serve only Messages there.
    if "anthropic" in urlsplit(upstream.url).path.split("/"):
        return "messages"
    if upstream.vendor.responses_models and re.match(upstream.vendor.responses_models, bare_name(target.model)):
        return "responses"
    preferred = upstream.vendor.messages.preferred
    return "messages" if preferred == "all" or (preferred == "claude" and target.claude) else "chat"
