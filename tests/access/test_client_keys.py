import pytest

from gateway.access.keys import ANONYMOUS, ClientKeys
from gateway.errors import Unauthenticated

KEYS = ClientKeys([("a", "key-one"), ("a", "key-two"), ("b", "kéy:three")], b"pepper")


@pytest.mark.parametrize(
    ("api_key", "authorization", "tenant"),
    [
        ("key-one", None, "a"),
        ("key-two", None, "a"),
        ("kéy:three", None, "b"),
        (None, "Bearer key-one", "a"),
        (None, "bearer  key-one ", "a"),
        ("key-one", "Bearer wrong", "a"),
        ("", "Bearer key-two", "a"),
    ],
)
def test_a_key_names_its_tenant(api_key: str | None, authorization: str | None, tenant: str) -> None:
    assert KEYS.authenticate(api_key, authorization).tenant == tenant


@pytest.mark.parametrize(
    ("api_key", "authorization"),
    [
        (None, None),
        ("", ""),
        ("KEY-ONE", None),
        ("key-on", None),
        ("wrong", "Bearer key-one"),
        (None, "Basic key-one"),
        ("\udcff", None),
    ],
)
def test_anything_else_is_refused_for_good(api_key: str | None, authorization: str | None) -> None:
    with pytest.raises(Unauthenticated) as caught:
        KEYS.authenticate(api_key, authorization)
    assert caught.value.should_retry is False
    assert "key-on" not in caught.value.message.lower()


def test_two_keys_of_a_tenant_are_distinguished_without_being_shown() -> None:
    first, second = KEYS.authenticate("key-one", None), KEYS.authenticate("key-two", None)
    assert first.key_id != second.key_id
    assert "key" not in first.key_id
    assert (len(first.key_id), KEYS.clients[:2]) == (8, (first, second))


def test_without_a_list_everyone_is_let_in() -> None:
    assert ClientKeys(None, b"p").authenticate(None, None) == ANONYMOUS


def test_without_valid_keys_every_key_is_refused() -> None:
    with pytest.raises(Unauthenticated, match="invalid x-api-key"):
        ClientKeys([], b"p").authenticate("key-one", None)


@pytest.mark.parametrize(("api_key", "authorization"), [(None, None), ("", ""), (None, "Basic key-one")])
def test_a_missing_key_is_reported_as_missing(api_key: str | None, authorization: str | None) -> None:
    with pytest.raises(Unauthenticated, match="x-api-key header is required"):
        KEYS.authenticate(api_key, authorization)
