"""docs/upstreams.md is what the table of vendors and the tests of real servers make it."""

from gateway.upstream.vendors.registry import VENDORS
from tests.support.upstreams_page import PAGE, main, to_page


def test_the_page_is_not_older_than_the_table_and_the_cases() -> None:
    assert PAGE.read_text(encoding="utf-8") == to_page(), "run `make docs`"
    assert main(["--check"]) == 0


def test_every_vendor_has_its_name_on_the_page() -> None:
    page = to_page()
    assert [name for name in VENDORS if f"`{name}`" not in page and name != "openrouter"] == []
