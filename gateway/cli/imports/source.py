"""A configuration file of another gateway as plain values, and the line of each of them.

YAML is read as it is. JSON is read with comments and commas at the end, as claude-code-router does, through the same
parser: without them it is YAML too.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.cli.console import CommandError

# Strings, which stay as they are, then comments of JSON5 and tabs, which YAML has not.
JSON_TOKEN: Final = re.compile(r'("(?:[^"\\\n]|\\.)*")|/\*.*?\*/|//[^\n]*|\t', re.DOTALL)
SURROGATES: Final = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file. `root` is the tree of its nodes, which have the lines."""

    path: Path
    value: Mapping[str, Any] = field(repr=False)
    root: Any = field(default=None, repr=False)

    def place(self, *keys: str | int) -> str:
        """Return file, line and path of a value, as in `config.yaml:12: model_list[0].model_name`."""
        shown = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
        node, line = self.root, 1
        for key in keys:
            found = _child(node, key)
            if found is None:
                break
            line, node = found
        return f"{self.path.name}:{line}: {shown}"


def read_yaml(path: Path) -> SourceFile:
    return _parsed(path, _text(path), "YAML")


def read_json(path: Path) -> SourceFile:
    text = JSON_TOKEN.sub(_plain_token, _text(path))
    return _parsed(path, SURROGATES.sub(_whole_character, text), "JSON")


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """Return the object; nothing at all is an empty one. Raises CommandError for another value."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise CommandError(f"{where}: must be an object")
    return value


def listed(value: Any, where: str) -> Sequence[Any]:
    """Return the list; nothing at all is an empty one. Raises CommandError for another value."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise CommandError(f"{where}: must be a list")
    return value


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: is not UTF-8: a wrong byte at {error.start}") from None


def _parsed(path: Path, text: str, form: str) -> SourceFile:
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        value = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise CommandError(f"{path}:{line}: is not valid {form}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CommandError(f"{path}: is not valid {form}: {' '.join(str(error).split())}") from None
    if not isinstance(value, Mapping):
        raise CommandError(f"{path}: must be an object")
    return SourceFile(path, value, root)


def _child(node: Any, key: str | int) -> tuple[int, Any] | None:
    """Return the line of an entry and its node. The last of two equal keys counts, as in the value."""
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line + 1, node.value[key]
    if isinstance(node, yaml.MappingNode):
        for name, inner in reversed(node.value):
            if name.value == str(key):
                return name.start_mark.line + 1, inner
    return None


def _plain_token(found: re.Match[str]) -> str:
    """Keep a string and the line ends of a comment."""
    return found[1] or "\n" * found[0].count("\n") or " "


def _whole_character(found: re.Match[str]) -> str:
    return (chr(int(found[1], 16)) + chr(int(found[2], 16))).encode("utf-16", "surrogatepass").decode("utf-16")
