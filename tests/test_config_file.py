"""gateway.toml with [upstreams] and [routes]: which problems are found, and where each is said to be."""

import os
import re
from pathlib import Path

import pytest

from gateway.context import Context
from gateway.dialects.parameter_policy import governed_prompt
from gateway.messages.prompt import to_prompt
from gateway.settings import Settings, SettingsError, load_settings, names_of
from gateway.settings.effective import DEFAULT, effective, misspelt
from gateway.settings.lines import lines_of
from gateway.upstream.routes.config import to_table

EXAMPLES = Path(__file__).parents[1] / "deploy/examples"
VARIABLES = {
    "A_URL": "http://127.0.0.1:1/v1",
    "A_API_KEY": "key-a",
    "B_URL": "http://127.0.0.1:2/v1",
    "B_API_KEY": "key-b",
    "BOX_URL": "http://127.0.0.1:3/v1",
    "ANTHROPIC_API_KEY": "key-anthropic",
    "OPENROUTER_API_KEY": "key-openrouter",
}
TWO = '[upstreams]\na = { url = "http://a/v1" }\ncloud = { url = "http://b/v1", vendor = "openrouter", key = "k" }\n'


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for field in Settings.model_fields for name in names_of(field)]:
        monkeypatch.delenv(name, raising=False)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


def load(text: str) -> Settings:
    Path("gateway.toml").write_text(text)
    return load_settings()


def problems_of(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(text)
    assert caught.value.exit_status == 2
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            '[upstreams.box]\nurl = "http://a/v1"\nvender = "vllm"',
            'gateway.toml:3: upstreams.box.vender: unknown key; did you mean "vendor"?',
            id="unknown key of an upstream",
        ),
        pytest.param(
            TWO + '[routes]\nm = { to = "a", stick = true }',
            'gateway.toml:5: routes.m.stick: unknown key; did you mean "sticky"?',
            id="unknown key of a route",
        ),
        pytest.param(
            TWO + '[routes]\n"m*" = ["a", { to = "cloud", shar = 1 }]',
            'gateway.toml:5: routes."m*".shar: unknown key; did you mean "share"?',
            id="unknown key of a candidate",
        ),
        pytest.param("[route]\n", 'gateway.toml:1: route: unknown key; did you mean "routes"?', id="unknown section"),
        pytest.param(
            TWO + '[routes]\n"*" = "openai/gpt-5.6"',
            'gateway.toml:5: routes."*": no upstream is named "openai"; for the model of that name write'
            ' "a/openai/gpt-5.6"',
            id="model in place of an upstream",
        ),
        pytest.param(
            TWO + '[routes]\n"*" = "clod"',
            'gateway.toml:5: routes."*": no upstream is named "clod"; did you mean "cloud"?',
            id="misspelt upstream",
        ),
        pytest.param(
            '[upstreams]\na = { url = "http://a/v1" }\n\nb = { url = "http://b/v1", key = "${NOT_SET}" }',
            "gateway.toml:4: upstreams.b.key: ${NOT_SET} is not set; set the variable NOT_SET where the gateway is"
            " started",
            id="variable that is not set",
        ),
        pytest.param(
            '[upstreams]\na = { url = "${NOT_SET}" }',
            "gateway.toml:2: upstreams.a.url: ${NOT_SET} is not set; set the variable NOT_SET where the gateway is"
            " started",
            id="address in a variable that is not set, which is not called a wrong address too",
        ),
        pytest.param(
            TWO + '[routes]\n"*" = [{ to = "a", share = 1 }, "cloud"]',
            'gateway.toml:5: routes."*".share: candidates with shares stand beside one another; give the next one a'
            " share too",
            id="share of one candidate alone",
        ),
        pytest.param(
            TWO + '[routes]\n"gpt-4" = "a/gpt-*"',
            'gateway.toml:5: routes.gpt-4: "gpt-*" has more * than the route\'s name: each stands for what one of the',
            id="star of a candidate without one in the pattern",
        ),
        pytest.param(
            '[upstreams.box]\nurl = "http://a/v1"\nvendor = "vlm"',
            r'gateway.toml:3: upstreams.box.vendor: expected auto or one of .*; did you mean "vllm"\?$',
            id="unknown vendor",
        ),
        pytest.param(
            '[upstreams.box]\nkey = "k"',
            'gateway.toml:1: upstreams.box: has no url; set url = "https://host/v1", or vendor = "…" for a hosted API',
            id="upstream without an address",
        ),
        pytest.param(
            '[upstreams.azure]\nkey = "k"',
            "gateway.toml:1: upstreams.azure: has no url; it differs between accounts",
            id="upstream with an address for each account",
        ),
        pytest.param(
            '[upstreams.box]\nurl = "ftp://a"',
            "gateway.toml:2: upstreams.box.url: expected an http or https URL",
            id="wrong address",
        ),
        pytest.param(
            '[upstreams.box]\nurl = "http://a/v1"\nconcurrency = 0',
            "gateway.toml:3: upstreams.box.concurrency: expected at least 1",
            id="number out of range",
        ),
        pytest.param(
            TWO + '[routes]\n"*" = []', 'gateway.toml:5: routes."*": is empty; name at least one', id="empty list"
        ),
        pytest.param(
            TWO + '[routes]\n"*" = { to = ["a"], require = { region = "eu" } }',
            'gateway.toml:5: routes."*".require: no candidate',
            id="requirement that nothing meets",
        ),
        pytest.param(
            '[routes]\n"*" = "a"', "gateway.toml:1: routes: there are no [upstreams] to route to", id="routes alone"
        ),
        pytest.param(
            'aliases = { a = "b" }\n' + TWO,
            "gateway.toml:2: upstreams: aliases (gateway.toml:1) configure one upstream and cannot be mixed with"
            " [upstreams]; move each into the table of its upstream ([routes])",
            id="one-upstream form in the same file",
        ),
        pytest.param(
            '[upstreams.box]\nurl = "http://a/v1"\nforward_headers = ["Cookie"]',
            "gateway.toml:3: upstreams.box.forward_headers: cookie is never forwarded",
            id="header that is never forwarded",
        ),
        pytest.param(
            '[upstreams]\nbox = { url = "http://h/v1", auth = "client", key = "k" }\n',
            'gateway.toml:2: upstreams.box.key: is not used with auth = "client"',
            id="key beside those of callers",
        ),
        pytest.param(
            "upstreams = 1", "gateway.toml:1: upstreams: expected a table of upstreams by name", id="no table"
        ),
        pytest.param(
            "[[routes]]\nx = 1", "gateway.toml:1: routes: expected a table of routes by model", id="array of tables"
        ),
        pytest.param(
            TWO + '[routes]\n"*" = 5', 'gateway.toml:5: routes."*": expected a table, as in', id="number for a route"
        ),
        pytest.param(
            '[upstreams]\na = { url = "http://a/v1", prices = 3 }',
            "gateway.toml:2: upstreams.a.prices: expected a table, as in",
            id="number for a table",
        ),
        pytest.param(
            TWO + '[routes]\nm = "a"\nn = "m"',
            'gateway.toml:6: routes.n: no upstream is named "m"; a route leads to upstreams, not to another route',
            id="route that leads to a route",
        ),
        pytest.param(
            '[upstreams]\na = { url = "http://a/v1", key = "$A_KEY" }',
            "gateway.toml:2: upstreams.a.key: is no key but the name of a variable; write ${NAME}",
            id="variable without braces",
        ),
        pytest.param(
            '[upstreams]\na = { url = "http://a/v1/chat/completions" }',
            "gateway.toml:2: upstreams.a.url: must be the base of the API: leave out /chat/completions",
            id="address of one API",
        ),
        pytest.param("\ufeffprot = 1", 'gateway.toml:1: prot: unknown key; did you mean "port"?', id="byte order mark"),
        pytest.param("port = 1\nport = 2", "gateway.toml:2: is not valid TOML", id="syntax"),
        pytest.param(
            'port = "x"\n', "gateway.toml:1: port: expected a whole number (such as port = 8080)", id="wrong setting"
        ),
    ],
)
@pytest.mark.covers("Routing · problems name file, line and remedy")
def test_problem_names_file_line_key_and_remedy(text: str, problem: str) -> None:
    [line] = problems_of(text)
    if problem.endswith("$"):
        assert re.match(problem, line)
    else:
        assert line.startswith(problem)


def test_all_problems_are_named_at_once() -> None:
    lines = problems_of(
        'prot = 1\n[upstreams]\na = { url = "http://a/v1", kex = "k" }\nb = { key = "${NOT_SET}" }\n'
        '[routes]\nx = "c"\ny = { to = "a", stick = 1 }\n"z" = { to = [] }\n'
    )
    assert [line.split(": ")[1] for line in lines] == [
        *("upstreams.b.key", "upstreams.a.kex", "routes.y.stick", "routes.z", "upstreams.b", "routes.x", "prot")
    ]


def test_variable_of_the_one_upstream_form_is_not_mixed_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_UPSTREAM_URL", "http://c/v1")
    monkeypatch.setenv("GATEWAY_MODEL_BIG", "m")
    [line] = problems_of(TWO)
    assert "GATEWAY_UPSTREAM_URL, GATEWAY_MODEL_BIG configure one upstream" in line
    assert "(url, [routes])" in line


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            TWO + '[routes]\n"gpt-*" = ["a", "cloud"]\n"gpt-4*" = ["a", "cloud"]',
            'gateway.toml:6: routes."gpt-4*": lists the same candidates as "gpt-*" at line 5',
        ),
        (TWO + '[routes]\n"*" = "a"', "gateway.toml:3: upstreams.cloud: no route names this upstream"),
        (TWO, 'gateway.toml:1: upstreams: there are no [routes]; add one, such as "*" = ["a", "cloud"]'),
        ("[upstreams.openai]", 'gateway.toml:1: upstreams.openai: has no key; set key = "${NAME}" with the variable'),
        (TWO + '[routes]\n"*" = ["a", "cloud", "a"]', 'gateway.toml:5: routes."*": lists "a" twice'),
        (
            '[upstreams]\na = { url = "http://a/v1" }\n[params]\ntemprature = 1\nrepeat_penalty = 1\nmin_tokens = 9',
            "gateway.toml:4: params.temprature: is no parameter of Messages or chat completions; did you mean",
        ),
    ],
)
def test_doubtful_line_is_a_warning(text: str, warning: str) -> None:
    [line] = load(text).config.warnings
    assert line.startswith(warning)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_key_of_every_example_is_located_when_broken(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len([line for line in lines if not line.startswith("#")]) <= 8
    assert load(path.read_text()).config.warnings == ()
    for number, line in enumerate(lines):
        for key in re.findall(r"(\w+) = (?!\{)", line) if "{" in line else []:
            broken = [*lines[:number], re.sub(rf"\b{key} =", f"{key}x =", line), *lines[number + 1 :]]
            found = problems_of("\n".join(broken))
            assert any(one.startswith(f"gateway.toml:{number + 1}: ") and f'"{key}"?' in one for one in found), found


def test_lines_of_keys_survive_strings_comments_and_lists_over_lines() -> None:
    text = '# [x]\na = """\n[b]\nc = 1"""\n[t."d.e"] # ]\nf = [ # {\n  { g = "}" },\n]\nh.i = \'#\'\n\n[[j]]\nk = 1\n'
    lines = lines_of(text)
    assert lines["a",] == 2
    assert lines["t", "d.e"] == 5
    assert lines["t", "d.e", "f"] == 6
    assert lines["t", "d.e", "h", "i"] == 9
    assert lines["j", "0", "k"] == 12
    assert ("b",) not in lines


def test_lines_of_listed_tables_are_those_of_each() -> None:
    lines = lines_of(
        '[[keys]]\nname = "a"\n\n[[keys]]\nname = "b"\n[keys.model_groups.large]\nrpm = 5\n'
        '[[identity.rules]]\nname = "r"\n[[identity.rules.parts]]\nx = 1\n[[identity.rules.parts]]\nx = 2\n'
    )
    assert [lines[place] for place in (("keys",), ("keys", "0"), ("keys", "1"), ("identity",))] == [1, 1, 4, 8]
    assert [lines["keys", place, "name"] for place in "01"] == [2, 5]
    assert lines["keys", "1", "model_groups", "large", "rpm"] == 7
    assert [lines["identity", "rules", "0", "parts", place, "x"] for place in "01"] == [11, 13]


@pytest.mark.parametrize(
    ("model", "candidates"),
    [
        ("claude-opus-5", [("anthropic", "claude-opus-5")]),
        ("claude-sonnet-5", [("openrouter", "z-ai/glm-5.2")]),
        ("claude-haiku-5", [("box", "qwen3-coder")]),
        ("big", [("openrouter", "~anthropic/claude-sonnet-latest")]),
        ("claude-mythos", [("anthropic", "claude-mythos")]),
    ],
)
def test_models_example_routes_as_it_says(model: str, candidates: list[tuple[str, str]]) -> None:
    table = to_table(load((EXAMPLES / "models.toml").read_text()))
    assert [(route.upstream.name, route.target.model) for route in table.resolve(model)] == candidates


def test_upstream_takes_its_vendor_from_its_name_its_setting_or_its_host() -> None:
    table = to_table(
        load(
            '[upstreams]\ngroq = { key = "k" }\nmine = { url = "https://api.mistral.ai/v1", key = ["x", "y"] }\n'
            'box = { url = "http://gpu:8000/v1", vendor = "vllm" }\nollama = { url = "http://gpu:11434/v1" }\n'
            'other = { url = "http://gpu:1/v1", auth = "api-key", key = "z", headers = { X-Team = "t" } }\n'
        )
    )
    shown = [(one.name, one.vendor.name, one.url, one.api_key) for one in table.upstreams]
    assert shown == [
        ("groq", "groq", "https://api.groq.com/openai/v1", "k"),
        ("mine", "mistral", "https://api.mistral.ai/v1", "x"),
        ("mine", "mistral", "https://api.mistral.ai/v1", "y"),
        ("box", "vllm", "http://gpu:8000/v1", ""),
        ("ollama", "ollama", "http://gpu:11434/v1", ""),
        ("other", "compatible", "http://gpu:1/v1", "z"),
    ]
    assert {("api-key", "z"), ("x-team", "t")} <= set(table.upstreams[-1].headers)


PARAMETERS = (Path(__file__).parents[1] / "docs/parameters.md").read_text()


def test_example_of_the_page_on_parameters_can_be_used() -> None:
    [text] = re.findall(r"```toml\n(.*?)```", PARAMETERS, re.DOTALL)
    settings = load(text)
    policy = to_table(settings).resolve("cheap")[0].policy
    assert policy is not None
    assert policy.parameters["reasoning_effort"].maximum == "medium"
    assert policy.parameters["provider"].lock == {"zdr": True, "data_collection": "deny"}
    assert policy.off == {"web_tools"}
    assert settings.config.warnings == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[params]\ntop_p = { mx = 1 }", 'gateway.toml:2: params.top_p: unknown key "mx"'),
        ("[features]\nwebtools = false", 'gateway.toml:2: features.webtools: unknown key; did you mean "web_tools"?'),
        (
            TWO + '[routes]\n"*" = { to = "a", params = { top_p = { min = 2, max = 1 } } }',
            'gateway.toml:5: routes."*".params.top_p: min is above max',
        ),
    ],
)
def test_problem_of_a_policy_names_file_line_key_and_remedy(text: str, problem: str) -> None:
    [line] = problems_of(text)
    assert line.startswith(problem)


@pytest.mark.parametrize(
    ("params", "is_dropped"),
    [
        pytest.param("", True, id="by default"),
        pytest.param("[params]\nstore = { deny = false }", False, id="allowed by the operator"),
    ],
)
def test_openai_is_not_asked_to_store_answers_in_the_operators_account(params: str, is_dropped: bool) -> None:
    upstreams = '[upstreams]\nopenai = { key = "k" }\nopenrouter = { key = "k" }\n'
    table = to_table(load(f'{upstreams}[routes]\n"*" = ["openai", "openrouter"]\n{params}'))
    stored, other = table.resolve("gpt-5-mini")
    request = {"model": "gpt-5-mini", "max_tokens": 9, "store": True, "messages": [{"role": "user", "content": "hi"}]}
    prompt = to_prompt(request, 100, Context("req_1"))
    assert (other.policy is None) is is_dropped
    assert stored.policy is not None
    governed, notes = governed_prompt(prompt, stored.policy, stored)
    assert ("store" in governed.request) is not is_dropped
    assert [note.text for note in notes] == (["dropped:store"] if is_dropped else [])


def test_check_does_not_list_a_variable_that_only_the_file_refers_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_BOX_KEY", "key-box")
    monkeypatch.setenv("GATEWAY_BOX_KEI", "")
    settings = load(
        '[upstreams]\nopenrouter = { key = "${OPENROUTER_API_KEY}" }\n'
        'box = { url = "http://a/v1", key = "${GATEWAY_BOX_KEY}" }\n'
    )
    shown = {one.variable: (one.value, one.source) for one in effective(settings)}
    assert shown["GATEWAY_UPSTREAM_API_KEY"] == (None, DEFAULT)
    assert misspelt(os.environ, settings.config.file.variables).keys() == {"GATEWAY_BOX_KEI"}
