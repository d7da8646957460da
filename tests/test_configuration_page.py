"""docs/configuration.md is written from the texts below the fields of Settings."""

import pytest

from gateway.settings import Settings
from tests.support.configuration_page import PAGE, SECTIONS, Undescribed, descriptions_of, main, to_page


class OneSetting(Settings):
    added: int = 3


class DescribedSetting(Settings):
    added: float = 30.0
    """Seconds until
    something happens."""


def test_the_configuration_page_is_not_older_than_the_settings() -> None:
    assert PAGE.read_text(encoding="utf-8") == to_page(), "run `make docs`"
    assert main(["--check"]) == 0


def test_a_setting_without_a_description_is_refused_with_what_to_do() -> None:
    with pytest.raises(Undescribed, match="describe the setting host in a docstring below its field"):
        to_page(OneSetting)


def test_every_section_begins_with_a_setting() -> None:
    assert Settings.model_fields.keys() >= SECTIONS.keys()


def test_the_text_below_a_field_describes_it() -> None:
    assert descriptions_of(DescribedSetting) == {"added": "Seconds until\nsomething happens."}


def test_a_row_shows_the_default_that_the_text_names_or_else_that_of_the_field() -> None:
    rows = [line for line in to_page().splitlines() if "_URL`" in line or "_PORT`" in line]
    assert "| `GATEWAY_UPSTREAM_URL` | OpenRouter's v1 base |" in "\n".join(rows)
    assert "| `GATEWAY_PORT` | `8080` | Port of the client listener." in "\n".join(rows)
