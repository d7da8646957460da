"""Text of an upstream loses secrets in any form, private addresses and file paths, and keeps the rest."""

import html
import itertools
import random
import string
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.settings import load_settings, private_hosts_of, secrets_of
from gateway.telemetry.redaction import (
    LONG_RUN,
    MAX_MESSAGE,
    MAX_NAME,
    PIECE,
    REMOVED,
    Redactor,
    forms_of,
    needed_run,
)

KEY = 'sk-or-v1-AbCdEfGh/+"IjKl&MnOp=QrStUvWxYz'
WORDS_ONLY = "sk-upstream"  # nothing in it looks like a key
ADMIN = "correct horse battery"
REDACTOR = Redactor([KEY, WORDS_ONLY, ADMIN], ["llm.example.com", "vllm:8000"])


def json_of(text: str) -> str:
    return orjson.dumps(text)[1:-1].decode()


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in upper case": str.upper,
    "in JSON": json_of,
    "in JSON with escaped slashes": lambda key: json_of(key).replace("/", "\\/"),
    "percent-encoded": lambda key: quote(key, safe=""),
    "percent-encoded in lower case": lambda key: quote(key, safe="").lower(),
    "in the path of a URL": quote,
    "in a form": quote_plus,
    "in HTML": html.escape,
    "in hexadecimal": lambda key: key.encode().hex(),
    "in base64": lambda key: b64encode(key.encode()).decode(),
    "the header in base64": lambda key: b64encode(f"Bearer {key}".encode()).decode(),
    "a basic user in base64": lambda key: b64encode(f"{key}:".encode()).decode(),
    "a basic password in base64": lambda key: b64encode(f"x:{key}".encode()).decode(),
    "in base64 for URLs": lambda key: urlsafe_b64encode(f"??{key}>>".encode()).decode(),
}


@pytest.mark.parametrize("secret", [KEY, WORDS_ONLY, ADMIN])
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_removed(form: str, secret: str) -> None:
    written = FORMS[form](secret)
    text = REDACTOR.text(f"invalid: ({written}), try again")
    assert text.startswith("invalid: (")
    assert text.endswith("), try again")
    assert REMOVED in text
    assert not shared(text, written, min(LONG_RUN, len(written) * 3 // 4))


def shared(text: str, secret: str, length: int) -> bool:
    """Whether a part of this many characters is in the text."""
    return any(secret[at : at + length] in text for at in range(len(secret) - length + 1))


@pytest.mark.parametrize(
    "part", [KEY[:-4], KEY[:20], KEY[:LONG_RUN], KEY[-16:], KEY[-LONG_RUN:], KEY[7:25], WORDS_ONLY[:9]]
)
def test_a_long_part_of_a_secret_is_removed(part: str) -> None:
    assert REDACTOR.text(f"key {part}… is wrong") == f"key {REMOVED}… is wrong"


def test_the_prefix_that_documentation_quotes_stays() -> None:
    assert REDACTOR.text("keys begin with sk-or-v1-, see the docs") == "keys begin with sk-or-v1-, see the docs"


def test_a_secret_that_is_cut_off_with_the_message_is_removed() -> None:
    assert REDACTOR.text(f"wrong: {KEY[:PIECE]}") == f"wrong: {REMOVED}"


def test_secrets_next_to_each_other_are_removed() -> None:
    assert REDACTOR.text(f"{WORDS_ONLY}{ADMIN} {WORDS_ONLY}") == f"{REMOVED}{REMOVED} {REMOVED}"


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=2 * LONG_RUN, max_size=80)


@given(SECRETS, st.text(max_size=20), st.text(max_size=20), st.sampled_from(sorted(FORMS)), st.data())
def test_no_long_part_of_any_secret_in_any_form_is_left(
    secret: str, before: str, after: str, form: str, data: st.DataObject
) -> None:
    written = FORMS[form](secret)
    start = data.draw(st.integers(0, len(written) - LONG_RUN))
    part = written[start : data.draw(st.integers(start + LONG_RUN, len(written)))]
    text = Redactor([secret]).text(f"{before} {part} {after}")
    # Encodings leave up to two characters of base64 beside the secret, and whole escapes, to their surroundings.
    assert not shared(text, part, 2 * LONG_RUN)


@pytest.mark.parametrize("key", ["none", "EMPTY", "test", "ollama", "lm-studio", "", "k"])
def test_a_key_that_is_no_secret_removes_nothing(key: str) -> None:
    assert Redactor([key]).text(f"ollama, lm-studio: none EMPTY test k {key}") == (
        f"ollama, lm-studio: none EMPTY test k {key}"
    )


REMOVED_TEXTS = {
    "an address with a port": "https://internal.example.org:8443/v1/x",
    "an address without a domain": "http://vllm/v1",
    "a local address": "http://localhost/v1",
    "an address of an IPv4 host": "http://10.0.0.1/v1",
    "an address of an IPv6 host": "http://[::1]/v1",
    "an address that cannot be read": "http://[::1/v1",
    "an address in a private domain": "https://llm.team.internal/v1",
    "an address with a user": "https://user:pass@example.org/v1",
    "an address of another scheme": "redis://cache.example.org/0",
    "a file's address": "file:///etc/passwd",
    "a bucket": "s3://weights/llama",
    "the upstream's own address": "https://llm.example.com/v1/chat/completions",
    "a host below the upstream's": "https://eu.llm.example.com/docs",
    "an address that holds a key": "https://example.org/sk-abcdef1234567/docs",
    "the upstream's host": "llm.example.com",
    "the upstream's host and port": "llm.example.com:443",
    "the upstream's short name and port": "vllm:8000",
    "an IPv4 address": "10.0.3.17",
    "an IPv4 address and a port": "10.0.3.17:8080",
    "an IPv6 address and a port": "[fd00::1:2]:8080",
    "a host and a port": "llm.internal.example:443",
    "this host and a port": "localhost:11434",
    "a service of Kubernetes": "vllm-0.vllm.default.svc.cluster.local",
    "an OpenRouter key": "sk-or-v1-0a1b2c3d4e5f",
    "an OpenAI key": "sk-proj-AbCdEfGh1234",
    "a Groq key": "gsk_AbCdEfGh1234",
    "a Google key": "AIzaSyA-1234567890abcdefghi",
    "an AWS key": "AKIAIOSFODNN7EXAMPLE",
    "a JSON web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "a bearer token": "Bearer abc.def-1234",
    "a key named as such": "key-0a1b2c3d4e",
    "a place in a stack": 'File "/srv/app/main.py", line 12, in run',
    "a library's file": "/usr/lib/python3.11/site-packages/vllm/engine.py",
    "a file in a home folder": "/home/alice/models/llama",
    "a file of a Mac": "/Users/alice/x.txt",
    "a file in the temporary folder": "/tmp/prometheus/gauge_1",
    "a source file below any folder": "/app/server/main.py:123",
    "weights": "/models/llama-3-8b.gguf",
    "a relative source file": "vllm/engine/async_llm.py:55",
    "a path from home": "~/.cache/huggingface/hub",
    "a file on Windows": "C:\\Users\\alice\\server\\main.txt",
    "a file on Windows, escaped": "C:\\\\Users\\\\alice\\\\main.txt",
    "a file in a folder with a space": "C:\\Program Files\\Python 3\\main.txt",
    "an organization of OpenAI": "org-AbCdEfGh12345678",
    "an organization of Groq": "org_01hxabcdefghjkmnpqrstvwxyz",
    "a project of OpenAI": "proj_AbCdEfGh12345678",
    "a user of OpenRouter": "user_2abcDEF3ghiJKL4mnoPQR5stu",
    "an account of Stripe": "acct_1AbCdEfGh23456",
    "a key's name of Moonshot": "<ak-f4uabc>",
    "a resource of AWS": "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-v1:0",
    "a project of Google": "projects/my-project-42/locations/us-central1/publishers/google/models/gemini",
    "a subscription of Azure": "subscriptions/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f/resourceGroups/prod/providers/x",
    "an address of e-mail": "jane.doe+llm@example.org",
    "a share": "\\\\server\\share\\file",
}


@pytest.mark.parametrize("what", REMOVED_TEXTS)
@pytest.mark.parametrize(
    ("before", "after"), [("", ""), ("see ", " now"), ("(", ")"), ("'", "', and"), ("in\n", "\nhere")]
)
def test_private_text_is_removed(what: str, before: str, after: str) -> None:
    assert REDACTOR.text(f"{before}{REMOVED_TEXTS[what]}{after}") == f"{before}{REMOVED}{after}"


KEPT_TEXTS = [
    "Invalid schema, see https://platform.openai.com/docs/guides/structured-outputs.",
    "More credits at https://openrouter.ai/settings/credits (or lower max_tokens)",
    "https://json-schema.org/draft/2020-12/schema#/$defs/B",
    "https://docs.example.org/search?q=tools&page=2#top",
    "$ref '#/$defs/B' cannot be resolved; #/properties/a/items",
    "the pointer /properties/data/0/name and the path /v1/chat/completions",
    "POST /v1/models/x and GET /data/items/3 are unknown",
    "text/plain, application/json, image/png or audio/wav",
    "model openai/gpt-4.1:free, TheBloke/Llama-2.gguf or ~anthropic/claude-sonnet-latest",
    "the key provided is not valid for model llama-3.1:70b",
    "tools.3.custom: key management is required, see section 4.5.1",
    "messages.0.content.1: tools.0.name:25 must be a string",
    "sk-learn is not a model",
    "version 1.2.3, 12:30:45, 2026-11-29T12:00:00Z",
    "messages[0:3] and values[1:2]",
    "and/or, input/output, n/a, km/h",
    "the tools user_settings2 and project_overview4, the field account_number2",
    "project-wide and user-defined settings, team_members, an org-mode file",
    "model accounts/fireworks/models/llama-v3p1-8b-instruct, claude-sonnet-4@20250514",
    "write to support@openai.com or through our help center at help.openai.com",
    "account 42 of 100, project: none, user 12, 131072 tokens",
    "C: is not a drive, a ~ b",
    "icon@2x.png and page@next.config.json are no images, and neither is a@b.c",
]


@pytest.mark.parametrize("text", KEPT_TEXTS)
def test_public_text_stays(text: str) -> None:
    assert REDACTOR.text(text) == text


def test_of_a_link_that_carries_a_credential_the_query_is_removed() -> None:
    text = REDACTOR.text("cannot load https://bucket.example.org/cat.png?X-Amz-Signature=0123&x=1, sorry")
    assert text == f"cannot load https://bucket.example.org/cat.png?{REMOVED}, sorry"
    assert REDACTOR.text("https://example.org/cat.png&key=0123") == f"https://example.org/cat.png?{REMOVED}"


@pytest.mark.parametrize(
    ("before", "number"),
    [
        ("account ", "123456789012"),
        ("AWS account id: ", "123456789012"),
        ("consumer 'project_number:", "987654321098"),
        ("has not been used in project ", "987654321098"),
        ("organization (", "0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"),
        ('"tenant_id":"', "0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"),
    ],
)
def test_the_number_of_an_account_is_removed(before: str, number: str) -> None:
    assert REDACTOR.text(f"{before}{number}, sorry") == f"{before}{REMOVED}, sorry"


def test_of_a_link_to_an_account_only_the_page_stays() -> None:
    text = REDACTOR.text("enable it at https://console.cloud.example.com/apis/overview?project=123456789 now")
    assert text == f"enable it at https://console.cloud.example.com/apis/overview?{REMOVED} now"
    assert REDACTOR.text("see https://example.org/organizations/org-AbCdEfGh12345678/limits") == f"see {REMOVED}"


def test_an_error_is_cleaned_with_its_details() -> None:
    error = InvalidRequest(f"bad {KEY}", details={"upstream_error_type": WORDS_ONLY, "number": 5})
    REDACTOR.error(error)
    assert error.message == str(error) == f"bad {REMOVED}"
    assert error.details == {"upstream_error_type": REMOVED, "number": 5}


def test_of_a_name_only_secrets_are_removed() -> None:
    assert REDACTOR.name(None) is None
    assert REDACTOR.name("/models/llama.gguf") == "/models/llama.gguf"
    assert REDACTOR.name(f"gen-{WORDS_ONLY}") == f"gen-{REMOVED}"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", ""),
        ("a", "a"),
        ("abc12", "abc12"),
        ("abc123", REMOVED),
        ("ABC123", REMOVED),
        ("abc123-", f"{REMOVED}-"),
        ("ä-ABC123", f"ä-{REMOVED}"),
        ("Ångström", "Ångström"),
    ],
)
def test_name_of_few_characters_is_searched_whole(name: str, shown: str) -> None:
    assert Redactor(["abc123"]).name(name) == shown


def searched_plainly(redactor: Redactor, name: str) -> str:
    """The name as text that is longer than a name is redacted, which is searched at each of its places."""
    before = "\n" * MAX_NAME
    return redactor.listed(before + name)[MAX_NAME:]


@pytest.mark.parametrize(
    "secret", [KEY, WORDS_ONLY, ADMIN, "abc123", "s3cret-", "passw0rd", "9-letters", "twelve-chars"]
)
def test_each_part_of_a_secret_is_found_at_each_place_of_a_name(secret: str) -> None:
    for redactor in (Redactor([secret]), Redactor([secret, KEY, "hunter2"])):
        for form in forms_of(secret):
            run = needed_run(form)
            for part in (form[start : start + run] for start in range(len(form) - run + 1)):
                for before, after in itertools.product(range(LONG_RUN + 2), (0, 9)):
                    name = "." * before + part + "." * after
                    assert REMOVED in (redactor.identifier(name) or ""), (form, name)


@given(st.lists(st.text("ab1-", min_size=PIECE, max_size=30), min_size=1, max_size=4), st.text("abA1-é", max_size=60))
def test_quick_search_of_a_name_finds_what_the_plain_search_finds(secrets: list[str], name: str) -> None:
    redactor = Redactor(secrets)
    assert redactor.identifier(name) == redactor.name(name) == searched_plainly(redactor, name)


@given(SECRETS, st.text(max_size=40), st.text(max_size=40), st.sampled_from(sorted(FORMS)), st.data())
def test_quick_search_finds_a_planted_part_where_the_plain_search_finds_it(
    secret: str, before: str, after: str, form: str, data: st.DataObject
) -> None:
    written = FORMS[form](secret)
    start = data.draw(st.integers(0, len(written) - PIECE))
    part = written[start : data.draw(st.integers(start + PIECE, len(written)))]
    redactor = Redactor([secret, "hunter2"])
    for name in ((before + part + after)[:MAX_NAME], (before + part)[:MAX_NAME]):
        assert redactor.identifier(name) == searched_plainly(redactor, name)


def test_name_cut_within_a_secret_loses_its_beginning() -> None:
    redactor = Redactor([KEY])
    for left in range(PIECE, len(KEY)):
        name = "." * (MAX_NAME - left) + KEY
        assert redactor.identifier(name) == "." * (MAX_NAME - left) + REMOVED


def test_few_ids_without_a_secret_are_searched_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick search is quick only if chance seldom makes it doubt."""
    rng, alphabet = random.Random(7), string.ascii_letters + string.digits
    redactor = Redactor([*("sk-" + "".join(rng.choices(alphabet, k=40)) for _ in range(50)), "hunter22"])
    ids = ["gen-1763800000-" + "".join(rng.choices(alphabet, k=20)) for _ in range(1000)]
    ids += [f"chatcmpl-{rng.randbytes(16).hex()}" for _ in range(1000)]
    searched = []
    monkeypatch.setattr(Redactor, "_spans", lambda _, text: searched.append(text) or iter(()))
    for each in ids:
        redactor.identifier(each)
    assert len(searched) < len(ids) / 20


def test_messages_and_names_without_end_are_cut() -> None:
    error = InvalidRequest("ä" * 1_000_000)
    REDACTOR.error(error)
    assert error.message == "ä" * MAX_MESSAGE
    assert REDACTOR.name("ä" * 1_000_000) == "ä" * MAX_NAME


HOSTILE = [
    "key-",
    "a@",
    "a.b@c.",
    "org-",
    "org_a",
    "arn:",
    "projects/",
    "account id: 1",
    "a.b",
    "a/",
    "-",
    "/usr",
    "https://",
    "sk-upstr",
    "[1:",
    "1.1.1.",
    ":\\",
    "a",
    'File "',
    "~/",
    "@",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_no_message_takes_long(unit: str) -> None:
    """Every repetition in the patterns has a bound: a message of the longest kind ends within the test's time limit."""
    for _ in range(20):
        REDACTOR.text((unit * 4096)[:4096])


@pytest.mark.parametrize("unit", ["?key", "&key", "key", "?", "&org", "org-", "a=&", "#"])
def test_no_link_takes_long(unit: str) -> None:
    REDACTOR.text(f"cannot load https://example.org/?{unit * 16_384}")


def test_every_secret_of_the_settings_is_found() -> None:
    settings = load_settings(
        upstream_api_key="upstream-canary",
        upstream_url="https://llm.example.com/v1",
        keys="tenant:client-canary,other:another-canary",
        admin_key="admin-canary",
        secret="k1:secret-canary,k2:older-canary",
        redis_url="redis://user:redis%2Fcanary@127.0.0.1:1/0",
        cache_redis_url="unix:///run/redis.sock?password=cache-canary",
    )
    assert set(secrets_of(settings)) == {
        "upstream-canary",
        "client-canary",
        "another-canary",
        "admin-canary",
        "k1:secret-canary,k2:older-canary",
        "secret-canary",
        "older-canary",
        "redis%2Fcanary",
        "redis/canary",
        "cache-canary",
    }


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://openrouter.ai/api/v1", []),
        ("https://llm.example.com/v1", ["llm.example.com"]),
        ("http://vllm:8000/v1", ["vllm:8000"]),
        ("http://vllm/v1", []),
    ],
)
def test_the_upstream_s_host_is_private_unless_it_is_openrouter(url: str, hosts: list[str]) -> None:
    assert list(private_hosts_of(load_settings(upstream_url=url))) == hosts
