"""Model groups: names that gateway.toml gives to patterns of models, for limits that count these models alone."""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import Final

# Between a scope and a model group, in the names of limits.
SEPARATOR: Final = "/"


class ModelGroups:
    """`patterns` by name of the group. Case does not count, as in a key's `models`."""

    def __init__(self, patterns: Mapping[str, tuple[str, ...]]) -> None:
        self.patterns = patterns
        self._matchers = {
            name: re.compile("|".join(fnmatch.translate(pattern.lower()) for pattern in several))
            for name, several in patterns.items()
        }

    def of(self, models: Iterable[str]) -> frozenset[str]:
        """Return the groups that have one of these models."""
        names = [model.lower() for model in models]
        return frozenset(group for group, one in self._matchers.items() if any(one.match(name) for name in names))


def group_scope(scope: str, group: str) -> str:
    """Return the name of a scope's limits for a model group; the scope itself for an empty one."""
    return f"{scope}{SEPARATOR}{group}" if group else scope


def split_scope(name: str) -> tuple[str, str]:
    """Return the scope and the model group, empty for limits of all models together."""
    scope, _, group = name.partition(SEPARATOR)
    return scope, group
