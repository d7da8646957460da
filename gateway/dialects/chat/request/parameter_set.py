"""Chat parameters of one request, each with the place that it came from.

What two places say differently is refused, since either choice could be wrong. Derived values are suggestions: what a
client says outright wins, before or after.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from gateway.dialects.chat.request.scope import Scope
from gateway.errors import InvalidRequest

# Who asks, or which conversation it is. OpenAI takes 64 characters of each, Zhipu, Doubao and OpenRouter 128 of the
# user; Claude Code's user_id alone has 150 to 190. A longer one is sent as its SHA-256 in hexadecimal.
IDENTIFIERS = frozenset({"prompt_cache_key", "safety_identifier", "user"})
MAX_IDENTIFIER = 64

# Values that change nothing: left out for upstreams that do not take the field.
DEFAULTS = {"temperature": 1, "top_p": 1}


class Parameters:
    """Chat parameters with the place in the request that each came from."""

    __slots__ = ("_paths", "_suggested", "fields", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.fields: dict[str, Any] = {}
        self._paths: dict[str, str] = {}
        self._suggested: dict[str, Any] = {}

    def put(self, name: str, value: Any, path: str) -> None:
        """Raises InvalidRequest where another place has said something else."""
        if name in self.fields and self.fields[name] != value:
            raise InvalidRequest(f"{path}: conflicts with {self._paths[name]}; set only one of them")
        self.fields[name] = value
        self._paths.setdefault(name, path)

    def pass_on(self, name: str, value: Any, path: str, foreign: frozenset[str] = frozenset()) -> None:
        """A parameter of chat's, as it is, unless it is one of those that are `foreign` to the upstream."""
        if value is None:
            return
        if name in foreign:
            self.scope.note("dropped", path, "this upstream has no such parameter")
        elif name != "n":  # which can only be 1, since a message has one answer
            self.put(name, value, path)

    def suggest(self, name: str, value: Any) -> None:
        """Set a default; a value that is put, before or after, wins."""
        self._suggested[name] = value

    def take(self, name: str) -> tuple[Any, str]:
        """Remove a parameter that does not go upstream as it stands; with where it was said."""
        return self.fields.pop(name, None), self._paths.pop(name, name)

    def leave_out(self, names: frozenset[str]) -> None:
        """Drop parameters that the model does not take; without a note for explicit defaults and derived values."""
        for name in names & self._suggested.keys():
            del self._suggested[name]
        for name in sorted(names & self.fields.keys()):
            value, path = self.take(name)
            if value != DEFAULTS.get(name):
                self.scope.note("dropped", path, "this model has no such parameter")

    def rename(self, names: Iterable[tuple[str, str]]) -> None:
        for name, other in names:
            if name in self.fields:
                self.fields[other] = self.fields.pop(name)

    def settle(self) -> dict[str, Any]:
        fields = {**self._suggested, **self.fields} if self._suggested else self.fields
        for name in IDENTIFIERS & fields.keys():
            if len(fields[name]) > MAX_IDENTIFIER:
                fields[name] = hashlib.sha256(fields[name].encode()).hexdigest()
        return fields
