"""Pydantic's errors in words for operators: the expected value, as written in gateway.toml or in a variable.

No message repeats a value, since it may be a secret. Rules of the gateway raise ValueError with words that are kept.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from gateway.settings.config_file import ConfigFile
from gateway.settings.lines import Location

# Models with the fields of tables, by the path of the table; `*` is any name, or the place in a list.
Forms = Sequence[tuple[Location, type[BaseModel]]]

WHOLE_NUMBER: Final = "expected a whole number"
NUMBER: Final = "expected a number"
TABLE: Final = "expected a table, as in { … }"
URL: Final = "expected an http or https URL"
WORDS: Final[Mapping[str, str]] = {
    "missing": "is missing, and has no default",
    "int_type": WHOLE_NUMBER,
    "int_parsing": WHOLE_NUMBER,
    "int_parsing_size": WHOLE_NUMBER,
    "int_from_float": WHOLE_NUMBER,
    "float_type": NUMBER,
    "float_parsing": NUMBER,
    "finite_number": NUMBER,
    "greater_than": "expected more than %(gt)s",
    "greater_than_equal": "expected at least %(ge)s",
    "less_than_equal": "expected at most %(le)s",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "string_type": "expected text in quotes",
    "string_too_short": "expected text that is not empty",
    "string_too_long": "expected at most %(max_length)s characters",
    "tuple_type": "expected a list, as in [ … ]",
    "too_short": "is empty; name at least one",
    "too_long": "expected at most %(max_length)s entries",
    "dict_type": TABLE,
    "model_type": TABLE,
    "url_type": URL,
    "url_parsing": URL,
    "url_scheme": URL,
}
BOUNDS: Final = frozenset({"gt", "ge", "le", "max_length"})
TIME: Final = "expected a date or a time, such as 2027-01-31 or 2027-01-31T08:00:00Z"


class WrongPart(ValueError):
    """A wrong value within a table, found by a rule of the whole table. `place`: its location below the table."""

    def __init__(self, place: Location, text: str) -> None:
        super().__init__(text)
        self.place = place


@contextmanager
def placed(*place: str) -> Iterator[None]:
    """Add the location of the value to a rule's ValueError."""
    try:
        yield
    except ValueError as error:
        raise WrongPart(place, str(error)) from None


def in_words(detail: ErrorDetails) -> str:
    """Return the expected value in words."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "literal_error":
        return _one_of(_names(context))
    if kind.startswith(("datetime", "date_", "timezone")):
        return TIME
    if kind in WORDS:
        return WORDS[kind] % {name: f"{bound:.15g}" for name, bound in context.items() if name in BOUNDS}
    return detail["msg"].removeprefix("Value error, ")


def section_problem(detail: ErrorDetails, file: ConfigFile, forms: Forms, shown: Location | None = None) -> str:
    """Return the line for an error in a section. `shown`: its location, if it differs from that of the long form."""
    location = tuple(str(part) for part in detail["loc"])
    place = tuple(part for part in shown or location if part != "[key]")
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, WrongPart):
        place += error.place
    if detail["type"] == "extra_forbidden":
        return file.problem(place, unknown_key(place[-1], _keys_at(location[:-1], forms)))
    if detail["type"] == "literal_error" and location[-1] == "[key]":
        return file.problem(place, unknown_key(place[-1], _names(detail["ctx"])))
    return file.problem(place, in_words(detail))


def unknown_key(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = suggestion(name, known)
    return f'unknown key; did you mean "{close}"?' if close else f"unknown key; known are {', '.join(known)}"


def suggestion(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
    return next(iter(difflib.get_close_matches(name, list(known), 1, likeness)), "")


def _names(context: Mapping[str, Any]) -> list[str]:
    """Return the allowed values of a field, parsed from pydantic's sentence."""
    return re.findall("'([^']*)'", context["expected"])


def _one_of(names: Sequence[str]) -> str:
    *others, last = [name for name in names if name]
    several = f"one of {', '.join((*others, last))}" if len(others) > 1 else " or ".join((*others, last))
    return f"expected {several}" + ("; without one, leave the key out" if "" in names else "")


def _keys_at(location: Location, forms: Forms) -> Iterable[str]:
    for place, form in forms:
        if len(place) == len(location) and all(part in ("*", name) for part, name in zip(place, location, strict=True)):
            return form.model_fields
    return ()
