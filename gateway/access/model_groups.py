"""Model groups of gateway.toml: named patterns of models, for limits that apply to these models only."""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway.access.records import Allowance

log = structlog.get_logger()

# Separates scope and model group in the names of limits.
SEPARATOR: Final = "/"
# Maximum number of warnings: one for each of 100,000 keys would fill the log.
MAX_WARNINGS: Final = 100


class ModelGroups:
    """Model groups: `patterns` by name of the group. Matching ignores case, as for a key's `models`."""

    def __init__(self, patterns: Mapping[str, tuple[str, ...]]) -> None:
        self.patterns = patterns
        self._matchers = {
            name: re.compile("|".join(fnmatch.translate(pattern.lower()) for pattern in several))
            for name, several in patterns.items()
        }

    def unknown_in(self, allowance: Allowance) -> list[str]:
        """Return the groups that have limits but do not exist. Such limits apply to nothing."""
        return [group for group in allowance.model_groups if group not in self.patterns]

    def of(self, models: Iterable[str]) -> frozenset[str]:
        """Return the groups that have one of these models."""
        names = [model.lower() for model in models]
        return frozenset(group for group, one in self._matchers.items() if any(one.match(name) for name in names))


@dataclass(slots=True)
class GroupWarnings:
    """Warn once of each stored limit for a model group that does not exist. `warned`: scopes and groups."""

    warned: set[tuple[str, str]] = field(default_factory=set)

    def warn(self, scope: str, allowance: Allowance, known: ModelGroups) -> None:
        if not allowance.model_groups:
            return
        for group in known.unknown_in(allowance):
            if (scope, group) not in self.warned and len(self.warned) < MAX_WARNINGS:
                self.warned.add((scope, group))
                log.warning("limits_of_unknown_model_group", scope=scope, group=group)


def group_scope(scope: str, group: str) -> str:
    """Return the name of a scope's limits for a model group; the scope itself if `group` is empty."""
    return f"{scope}{SEPARATOR}{group}" if group else scope


def split_scope(name: str) -> tuple[str, str]:
    """Return scope and model group; the group is empty for limits of all models together."""
    scope, _, group = name.partition(SEPARATOR)
    return scope, group
