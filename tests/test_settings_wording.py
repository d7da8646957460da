"""Words for settings that cannot be used: none of them is pydantic's."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from gateway.settings import Settings
from gateway.settings.access_sections import FORMS as ACCESS_FORMS
from gateway.settings.access_sections import AccessSections
from gateway.settings.check_sections import FORMS
from gateway.settings.sections import Sections
from gateway.settings.wording import in_words

MODELS = [Settings, Sections, AccessSections, *dict.fromkeys(form for _, form in (*FORMS, *ACCESS_FORMS))]
WRONG = (
    *(5, -1, 1.5, 1e300, float("nan"), True, "", "\n", "x", "x" * 5000, "ftp://x"),
    *([], [5], [""], ["x"], ["x"] * 100, {}, {"x": 5}),
)
PYDANTICS = re.compile(r"\bshould\b|\bvalid\b|required|unable|instance of", re.IGNORECASE)


def problems(model: type[BaseModel]) -> Iterator[tuple[str, Any, str]]:
    """Yield the field, the value and the words of each refusal."""
    for field in model.model_fields:
        for value in WRONG:
            try:
                model.model_validate({field: value})
            except ValidationError as error:
                yield from (
                    (field, value, in_words(detail))
                    for detail in error.errors()
                    if detail["type"] not in ("missing", "extra_forbidden")
                )


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_problem_has_pydantics_words(model: type[BaseModel]) -> None:
    found = list(problems(model))
    assert found, "the values are wrong for some field"
    assert [one for one in found if PYDANTICS.search(one[2])] == []
    assert all(re.match(r"[^A-Z]|URL|UTF", words) for _, _, words in found), "words go on after the name of a key"
