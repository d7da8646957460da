"""Client keys as text: their form, checksum and what may be shown of them."""

import pytest

from gateway.access.key_text import new_key, to_hint, to_key_id, with_checksum

KEY = with_checksum("sk-dg-0123456789-" + "s" * 43)


def test_new_key_has_an_id_a_secret_of_256_bits_and_a_checksum() -> None:
    key = new_key()
    assert key.startswith("sk-dg-")
    assert len(key) == len("sk-dg-") + 10 + 1 + 43 + 6
    assert to_key_id(key) == f"key_{key[6:16]}"
    assert new_key() != key


@pytest.mark.parametrize("place", [7, 20, 40, -1])
def test_mistyped_key_is_recognised_by_its_checksum(place: int) -> None:
    key = new_key()
    wrong = "0" if key[place] != "0" else "1"
    assert to_key_id(key[:place] + wrong + (key[place + 1 :] if place != -1 else "")) is None


@pytest.mark.parametrize("text", ["", "sk-ant-api03-x", "sk-dg-", "sk-dg-a-b", KEY + "x", " " + KEY])
def test_other_text_is_no_key(text: str) -> None:
    assert to_key_id(text) is None


def test_hint_shows_the_beginning_and_the_end_alone() -> None:
    assert to_hint(KEY) == f"sk-dg-0123…{KEY[-3:]}"
