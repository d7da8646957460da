"""The list of signing keys: its form, its order, and signatures per tenant."""

import pytest

from gateway.access.keyring import Keyring


@pytest.mark.parametrize(
    "text", ["new:first,old:second", " new:first , old:second ", "new:first\nold:second", "new:first\r\n  old:second\n"]
)
def test_a_list_of_keys_is_read_in_its_order(text: str) -> None:
    assert Keyring.parse(text).keys == (("new", b"first"), ("old", b"second"))


@pytest.mark.parametrize(
    "text", ["", "key", "a:", ":key", "a b:key", "é:key", "a:one,", "a:one,,b:two", "x" * 33 + ":key"]
)
def test_another_form_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(ValueError, match="expected a comma-separated list of id:key") as caught:
        Keyring.parse(text)
    assert "one" not in str(caught.value)


def test_an_id_of_32_characters_is_accepted() -> None:
    assert Keyring.parse("x" * 32 + ":key").keys == (("x" * 32, b"key"),)


def test_an_id_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="the same key id is given twice"):
        Keyring.parse("a:one,a:two")


def test_a_key_is_found_by_its_id() -> None:
    keyring = Keyring.parse("a:one,b:two")
    assert [keyring.find(key_id) for key_id in ("a", "b", "c")] == [b"one", b"two", None]


def test_a_keyring_of_a_tenant_has_the_same_keys() -> None:
    keyring = Keyring.parse("a:one")
    of_tenant = keyring.of_tenant("acme")
    assert (of_tenant.keys, of_tenant.tenant, keyring.tenant) == (keyring.keys, "acme", "")


def test_the_repr_shows_no_key() -> None:
    assert "one" not in repr(Keyring.parse("a:one"))
