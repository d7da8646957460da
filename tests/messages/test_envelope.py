"""Envelopes: sealed content opens unchanged, and other envelopes are rejected."""

import hmac
import string
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.keyring import Keyring
from gateway.messages.envelope import MAX_INFLATED, Envelope, RejectedEnvelope, open_envelope, seal

KEYRING = Keyring.parse("k1:first-key").of_tenant("acme")
ENTRIES: list[Any] = [
    {
        "type": "reasoning.summary",
        "summary": "Cats, überall 🐈",
        "format": "openai-responses-v1",
        "index": 0,
        "id": None,
    },
    {"type": "reasoning.future", "anything": {"b": [1, 2.5, None], "a": True}},
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=4), st.text())
def test_sealed_entries_open_as_they_were(entries: list[Any], model: str) -> None:
    assert open_envelope(seal(entries, model, KEYRING), KEYRING) == Envelope(model, entries)


def test_an_envelope_is_one_word_of_safe_characters_that_names_its_key() -> None:
    sealed = seal(ENTRIES, "a/b", KEYRING)
    assert sealed.startswith("gw2.k1.")
    assert set(sealed) <= set(string.ascii_letters + string.digits + "._-")


def test_no_entries_still_give_a_non_empty_envelope() -> None:
    assert open_envelope(seal([], "a/b", KEYRING), KEYRING) == Envelope("a/b", [])


def test_the_same_content_gives_the_same_envelope() -> None:
    assert seal(ENTRIES, "a/b", KEYRING) == seal(ENTRIES, "a/b", KEYRING)


def test_a_text_that_repeats_itself_is_stored_small() -> None:
    assert len(seal([{"type": "reasoning.text", "text": "think " * 2000}], "a/b", KEYRING)) < 400


NOT_OURS = [
    pytest.param("", id="nothing"),
    pytest.param("EqQBCkYIBBgCKkBabc+/==", id="a signature of Claude's"),
    pytest.param("gw2", id="the first word alone"),
    pytest.param("gw3.k1.abc.def", id="a later version"),
    pytest.param("gw10.k1.abc.def", id="a version that begins alike"),
]


@pytest.mark.parametrize("text", NOT_OURS)
def test_anybody_elses_string_is_not_an_envelope(text: str) -> None:
    assert open_envelope(text, KEYRING) is None


def flip(text: str, position: int) -> str:
    return text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]


def test_a_change_anywhere_is_noticed() -> None:
    sealed = seal(ENTRIES, "a/b", KEYRING)
    content_start = len("gw2.k1.")
    for position in range(content_start, len(sealed)):
        if sealed[position] != ".":
            assert open_envelope(flip(sealed, position), KEYRING) == RejectedEnvelope("forged"), position


REJECTED = [
    pytest.param("gw2.k1.abc", "damaged", id="too few parts"),
    pytest.param("gw2.k1.abc.def.ghi", "damaged", id="too many parts"),
    pytest.param("gw2.k9.abc.def", "unknown key", id="a key of another deployment"),
    pytest.param("gw2.k1.abc.def", "forged", id="a mac out of thin air"),
    pytest.param("gw2.k1.é🐈.é", "forged", id="characters that no envelope has"),
    pytest.param("gw2.k1.\ud800.\ud800", "forged", id="half a surrogate pair"),
]


@pytest.mark.parametrize(("text", "reason"), REJECTED)
def test_rejected_envelope_has_its_reason(text: str, reason: Any) -> None:
    assert open_envelope(text, KEYRING) == RejectedEnvelope(reason)


def signed(content: bytes, keyring: Keyring = KEYRING) -> str:
    """An envelope around any content, as a holder of the key could make it."""
    key_id, key = keyring.keys[0]
    text = f"gw2.{key_id}.{to_base64(content)}"
    return f"{text}.{to_base64(hmac.digest(key, f'{text}.{keyring.tenant}'.encode(), 'sha256')[:16])}"


def to_base64(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def content_of(sealed: str) -> bytes:
    content = sealed.split(".")[2]
    return urlsafe_b64decode(content + "=" * (-len(content) % 4))


DAMAGED = [
    pytest.param(b"not deflated", id="not deflated"),
    pytest.param(zlib.compress(b"{"), id="not JSON"),
    pytest.param(zlib.compress(b"[]"), id="not an object"),
    pytest.param(zlib.compress(b"{}"), id="without its fields"),
    pytest.param(content_of(seal(ENTRIES, "a/b", KEYRING))[:-8], id="cut short"),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_properly_signed_envelope_may_still_be_damaged(content: bytes) -> None:
    assert open_envelope(signed(content), KEYRING) == RejectedEnvelope("damaged")


def test_an_envelope_does_not_inflate_beyond_its_bound() -> None:
    sealed = seal([{"type": "reasoning.text", "text": "a" * MAX_INFLATED}], "a/b", KEYRING)
    assert len(sealed) < 250_000
    assert open_envelope(sealed, KEYRING) == RejectedEnvelope("damaged")


def test_the_format_is_the_documented_one() -> None:
    sealed = seal(ENTRIES, "a/b", KEYRING)
    assert signed(content_of(sealed)) == sealed
    assert orjson.loads(zlib.decompress(content_of(sealed))) == {"model": "a/b", "entries": ENTRIES}


def test_a_new_key_signs_while_the_old_one_still_opens() -> None:
    old = seal(ENTRIES, "a/b", KEYRING)
    rotated = Keyring.parse("k2:second-key, k1:first-key").of_tenant("acme")
    assert open_envelope(old, rotated) == Envelope("a/b", ENTRIES)
    assert seal(ENTRIES, "a/b", rotated).startswith("gw2.k2.")
    assert open_envelope(seal(ENTRIES, "a/b", rotated), KEYRING) == RejectedEnvelope("unknown key")


def test_one_key_id_with_another_key_opens_nothing() -> None:
    assert open_envelope(
        seal(ENTRIES, "a/b", KEYRING), Keyring.parse("k1:other").of_tenant("acme")
    ) == RejectedEnvelope("forged")


@pytest.mark.parametrize("tenant", ["", "acm", "acme.", "ACME", "other"])
def test_an_envelope_of_another_tenant_does_not_open(tenant: str) -> None:
    sealed = seal(ENTRIES, "a/b", KEYRING)
    assert open_envelope(sealed, KEYRING.of_tenant(tenant)) == RejectedEnvelope("forged")


def test_a_tenant_with_dots_cannot_pass_for_another_one() -> None:
    """The signed text has the tenant behind the content: no split of it gives the envelope of another tenant."""
    sealed = seal([], "m", KEYRING.of_tenant("x.y"))
    version, key_id, content, mac = sealed.split(".")
    assert open_envelope(f"{version}.{key_id}.{content}.x.{mac}", KEYRING.of_tenant("y")) == RejectedEnvelope("damaged")


def test_an_envelope_from_before_tenants_still_opens_for_every_tenant() -> None:
    key_id, key = KEYRING.keys[0]
    text = f"gw1.{key_id}.{to_base64(content_of(seal(ENTRIES, 'a/b', KEYRING)))}"
    old = f"{text}.{to_base64(hmac.digest(key, text.encode(), 'sha256')[:16])}"
    assert open_envelope(old, KEYRING) == Envelope("a/b", ENTRIES)
    assert open_envelope(old, KEYRING.of_tenant("other")) == Envelope("a/b", ENTRIES)
    assert open_envelope(old[:-1] + ("A" if old[-1] != "A" else "B"), KEYRING) == RejectedEnvelope("forged")


def test_an_envelope_cannot_be_turned_into_one_of_the_version_without_a_tenant() -> None:
    sealed = seal(ENTRIES, "a/b", KEYRING)
    assert open_envelope("gw1" + sealed.removeprefix("gw2"), KEYRING) == RejectedEnvelope("forged")


def test_a_key_may_hold_a_colon() -> None:
    assert Keyring.parse("k1:a:b").keys == (("k1", b"a:b"),)


@pytest.mark.parametrize("text", ["", "k1", "k1:", ":secret", "k.1:secret", "k1:a,,k2:b", "k" * 33 + ":a", "k1:a,k1:b"])
def test_a_malformed_keyring_is_refused_without_showing_a_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"key id is given twice|expected a comma-separated list") as caught:
        Keyring.parse(text)
    assert "secret" not in str(caught.value)


def test_a_keyring_does_not_show_its_keys() -> None:
    assert "first-key" not in repr(KEYRING)
