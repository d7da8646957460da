"""`dragoman check` with a file of several upstreams: routes, recognition, `--explain`, and the exit status."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.simulator.loopback import Simulator
from tests.cli.conftest import dragoman

TEXT = """[upstreams]
a = { url = "URL", vendor = "openrouter", key = ["canary-1", "canary-2"] }
b = { url = "http://127.0.0.1:1/v1", key = "canary-3", auth = "x-api-key" }
[routes]
"*" = ["a", "b/small"]
"*opus*" = { to = [{ to = "a/sim/echo", share = 70 }, { to = "b", share = 30 }], description = "shared" }
"claude-*" = "b"
"""


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as running:
        yield running


@pytest.fixture
def variables(tmp_path: Path, simulator: Simulator) -> dict[str, str]:
    file = tmp_path / "gateway.toml"
    file.write_text(TEXT.replace("URL", simulator.url))
    return {
        "GATEWAY_CONFIG": str(file),
        "GATEWAY_PORT": "0",
        "GATEWAY_ADMIN_PORT": "0",
        "GATEWAY_WORKER_ADMIN_PORT": "1",
        "GATEWAY_AUTH": "off",
        "GATEWAY_SECRET": "t:secret",
    }


@pytest.mark.covers("Routing · dragoman check")
async def test_routes_upstreams_and_reachability_are_shown_and_no_key(
    variables: dict[str, str], simulator: Simulator
) -> None:
    ran = await dragoman("check", **variables)
    assert ran.status == 1
    assert "a  openrouter (as set)" in ran.out
    assert "→ a/sim/echo 70 [chat, openrouter], b 30 [chat, compatible]" in ran.out
    assert "no connection to the upstream could be made" in ran.out
    assert "canary" not in ran.out + ran.err
    assert {record.method for record in simulator.requests(None)} <= {"GET"}


async def test_json_has_routes_and_upstreams(variables: dict[str, str]) -> None:
    ran = await dragoman("check", "--json", **variables)
    [told] = ran.lines
    assert [(one["name"], one["vendor"], one["keys"]) for one in told["upstreams"]] == [
        ("a", "openrouter", 2),
        ("b", "compatible", 1),
    ]
    assert [(one["pattern"], one["line"]) for one in told["routes"] if not one["built_in"]] == [
        ("*", 5),
        ("*opus*", 6),
        ("claude-*", 7),
    ]
    levels = {one["subject"]: one["level"] for one in told["findings"]}
    assert (told["ok"], levels["a"], levels["b"]) == (True, "ok", "warning")


async def test_explain_shows_the_winner_its_line_and_what_lost(variables: dict[str, str]) -> None:
    ran = await dragoman("check", "--explain", "claude-opus-5", **variables)
    assert ran.status == 0
    first, *candidates, one, two, three = ran.out.splitlines()
    assert first == f'claude-opus-5: "claude-*" ({variables["GATEWAY_CONFIG"]}:7)'
    assert candidates == ["  1. b/claude-opus-5  chat, compatible"]
    assert one == '  lost: "*" at line 5: 0 literal characters, 7 win'
    assert two == '  lost: "*opus*" at line 6: 4 literal characters, 7 win'
    assert three == '  lost: "claude-*": built-in names come last'


async def test_explained_name_without_a_route_has_status_1(variables: dict[str, str]) -> None:
    path = Path(variables["GATEWAY_CONFIG"])
    path.write_text(path.read_text().replace('"*" =', '"z" ='))  # noqa: ASYNC240
    ran = await dragoman("check", "--explain", "gpt-5", **variables)
    assert (ran.status, ran.out) == (1, "gpt-5: no route matches; clients get 404 not_found_error\n")


async def test_file_that_cannot_be_used_has_status_2(variables: dict[str, str]) -> None:
    path = Path(variables["GATEWAY_CONFIG"])
    path.write_text(path.read_text().replace('"claude-*" = "b"', '"claude-*" = "c"'))  # noqa: ASYNC240
    ran = await dragoman("check", "--json", **variables)
    assert ran.status == 2
    assert ':7: routes."claude-*": no upstream is named "c"' in ran.lines[0]["message"]
