"""`[[keys]]`, `[limits]`, `[model_groups]` and `[identity]` of gateway.toml: which problems are found, and where."""

from pathlib import Path

import pytest

from gateway.settings import SettingsError, load_settings


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def problems_of(text: str) -> list[str]:
    Path("gateway.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value).splitlines()


def test_problem_of_a_later_table_has_its_own_line() -> None:
    keys = '[[keys]]\nname = "a"\nkey = "${A_KEY}"\n\n[[keys]]\nname = "a"\nkey = "k"\n'
    assert problems_of(keys) == [
        "gateway.toml:3: keys.key: ${A_KEY} is not set; set the variable A_KEY where the gateway is started",
        'gateway.toml:6: keys.name: there are two keys named "a"',
    ]


KEY = '[[keys]]\nname = "a"\nkey = "k"\n'
RULE = (
    '[[identity.issuers]]\nissuer = "https://x"\n[[identity.rules]]\nname = "r"\nissuer = "https://x"\nsubject = "s"\n'
)
WHAT_A_NAME_IS = "expected 1 to 64 of A-Z a-z 0-9 _ . @ + -, starting with a letter or a digit"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param('[[keys]]\nkey = "k"', "1: keys.name: is missing, and has no default", id="no name"),
        pytest.param(KEY + 'rpm = "many"', "4: keys.rpm: expected a whole number", id="text for a number"),
        pytest.param(KEY + "rpm = 0", "4: keys.rpm: expected at least 1", id="number out of range"),
        pytest.param(KEY + 'priority = "top"', "4: keys.priority: expected one of low, normal, high", id="enumeration"),
        pytest.param(
            KEY + 'data = "none"',
            "4: keys.data: expected deny or zdr; without one, leave the key out",
            id="enumeration that may be left out",
        ),
        pytest.param(KEY + 'cache = "maybe"', "4: keys.cache: expected true or false", id="no switch"),
        pytest.param(KEY + 'models = "gpt"', "4: keys.models: expected a list, as in [ … ]", id="text for a list"),
        pytest.param(KEY + 'models = [""]', "4: keys.models: expected text that is not empty", id="empty text"),
        pytest.param(KEY + 'user = "x y"', f"4: keys.user: {WHAT_A_NAME_IS}", id="no name of a user"),
        pytest.param(
            '[[keys]]\nname = "a"\nsha256 = "zz"',
            "3: keys.sha256: expected 64 hexadecimal digits, as sha256sum writes them",
            id="no digest",
        ),
        pytest.param(
            KEY + 'expires = "tomorrow"',
            "4: keys.expires: expected a date or a time, such as 2027-01-31 or 2027-01-31T08:00:00Z",
            id="no date",
        ),
        pytest.param(
            KEY + "expires = 0001-01-01T00:00:00+01:00",
            "4: keys.expires: expected a time in the years 1 to 9999",
            id="a date before the first year",
        ),
        pytest.param(
            KEY + f'shrink_floor = "{"9" * 5000}"',
            "4: keys.shrink_floor: expected a number of tokens, or off",
            id="a floor of thousands of digits",
        ),
        pytest.param(
            KEY + 'shrink_floor = "on"', "4: keys.shrink_floor: expected a number of tokens, or off", id="no floor"
        ),
        pytest.param(
            KEY + "shrink_floor = 0", "4: keys.shrink_floor: expected a number of tokens, or off", id="a floor of none"
        ),
        pytest.param(
            KEY + 'budget_usd = "abc"', "4: keys.budget_usd: 'abc' is not an amount of US dollars", id="no amount"
        ),
        pytest.param(
            KEY + "budget_usd = [1]",
            '4: keys.budget_usd: expected US dollars, such as 25 or "12.50"',
            id="list for an amount",
        ),
        pytest.param(
            KEY + 'budget_usd = 5\nperiod = "hour"',
            "5: keys.period: 'hour' is not a period; use one of day, week, month, total, rolling",
            id="no period",
        ),
        pytest.param(
            KEY + 'time_zone = "Mars"\nrpm = 5',
            "4: keys.time_zone: 'Mars' is not a time zone, such as Europe/Berlin",
            id="no time zone",
        ),
        pytest.param(
            KEY + 'budget_usd = 5\nperiod = "rolling"\nrpm = 5',
            "5: keys.period: a window in seconds is required for a rolling budget, and only allowed there",
            id="period without its window",
        ),
        pytest.param(
            KEY + "budget_usd = 5\nwindow_seconds = 7200",
            "5: keys.window_seconds: a window in seconds is required for a rolling budget, and only allowed there",
            id="window without its period",
        ),
        pytest.param(
            '[limits."tenant:red"]\nbudget_usd = 5\nperiod = "rolling"\nwindow_seconds = 1',
            '4: limits."tenant:red".window_seconds: the window must be 60 to 31622400 seconds',
            id="window of limits out of range",
        ),
        pytest.param(
            KEY + '[keys.model_groups.a]\nrpm = 5\ntime_zone = "Mars"',
            "6: keys.model_groups.a.time_zone: 'Mars' is not a time zone, such as Europe/Berlin",
            id="time zone of a model group",
        ),
        pytest.param(
            KEY + '[keys.params]\ntop_p = 1\ntemperature = { min = "x" }',
            "6: keys.params.temperature: min: expected a number, or one of ",
            id="parameter of a key",
        ),
        pytest.param(
            KEY + f'sha256 = "{"0" * 64}"',
            '4: keys.sha256: expected a key, such as key = "${NAME}", or the sha256 of one',
            id="key and digest",
        ),
        pytest.param(KEY + "rmp = 5", '4: keys.rmp: unknown key; did you mean "rpm"?', id="unknown key"),
        pytest.param(
            KEY + "model_groups = { a = { rmp = 5 } }",
            '4: keys.model_groups.a.rmp: unknown key; did you mean "rpm"?',
            id="unknown key of a model group",
        ),
        pytest.param(
            KEY + "model_groups = { a = 5 }",
            "4: keys.model_groups.a: expected a table, as in { … }",
            id="number for a table",
        ),
        pytest.param(
            KEY + "model_groups = { b = { rpm = 5 } }",
            "4: keys.model_groups.b: there is no such group; [model_groups] has none",
            id="model group that does not exist",
        ),
        pytest.param(
            "[limits.everyone]\nrpm = 5",
            "1: limits.everyone: expected deployment, tenant:NAME or user:NAME",
            id="unknown scope",
        ),
        pytest.param("[model_groups]\na = []", "2: model_groups.a: is empty; name at least one", id="empty group"),
        pytest.param(
            RULE + 'role = "boss"',
            "7: identity.rules.role: expected one of viewer, operator, lead, admin; without one, leave the key out",
            id="role of a rule",
        ),
        pytest.param(
            RULE + "model_groups = { b = { rpm = 5 } }",
            "7: identity.rules.model_groups.b: there is no such group; [model_groups] has none",
            id="model group of a rule that does not exist",
        ),
        pytest.param(
            RULE + "token_lifetime_seconds = 5",
            "7: identity.rules.token_lifetime_seconds: expected at least 60",
            id="lifetime out of range",
        ),
        pytest.param(
            RULE.replace('issuer = "https://x"\nsubject', 'issuer = "https://y"\nsubject'),
            "5: identity.rules.issuer: the rule r names the issuer https://y, which is not among [[identity.issuers]]",
            id="issuer of a rule that does not exist",
        ),
        pytest.param(
            RULE + '[[identity.rules]]\nname = "r"\nissuer = "https://x"\nsubject = "t"',
            "8: identity.rules.name: two rules have the same name",
            id="two rules of one name",
        ),
        pytest.param(
            RULE + '[[identity.issuers]]\nissuer = "https://x"',
            "8: identity.issuers.issuer: two issuers have the same name",
            id="two issuers of one name",
        ),
        pytest.param(
            RULE + '[identity.sign_in]\nissuer = "https://z"\nclient_id = "c"',
            "8: identity.sign_in.issuer: sign_in names the issuer https://z, which is not among [[identity.issuers]]",
            id="issuer of sign-in that does not exist",
        ),
        pytest.param(
            '[identity.sign_in]\nissuer = "https://x"\nclient = "c"',
            '3: identity.sign_in.client: unknown key; did you mean "client_id"?',
            id="unknown key of sign-in",
        ),
    ],
)
def test_problem_is_said_in_words_of_the_file(text: str, problem: str) -> None:
    problems = problems_of(text)
    assert any(one.startswith(f"gateway.toml:{problem}") for one in problems), problems
