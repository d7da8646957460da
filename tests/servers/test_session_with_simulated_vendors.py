"""A session of Claude Code with all of its tools before hosted servers that the simulator plays, strictly.

No turn fails, each prompt starts with all of the one before it, and what a server wants back of earlier reasoning comes
back, or the simulator would refuse the next turn.
"""

import os
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from gateway.simulator.loopback import Simulator
from gateway.simulator.vendors.rows import VENDOR_ROWS
from tests.servers import claude_code
from tests.servers.claude_code import environment_for
from tests.servers.conftest import KEY, front_end
from tests.servers.recorder import recording
from tests.servers.registry import SERVERS
from tests.servers.report import CHOICE
from tests.servers.running import Running

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHOICE not in os.environ, reason="`make servers` runs it: it downloads Claude Code"),
    pytest.mark.skipif(claude_code.missing() is not None, reason=str(claude_code.missing())),
]

TURNS = 10
# Requests that are refused before the upstream's ways are known, and not again.
MOST_REFUSED = 4


@pytest.mark.parametrize("vendor", list(VENDOR_ROWS))
@pytest.mark.covers("Agents · Claude Code, ten turns with all its tools")
async def test_ten_turns_of_claude_code_with_all_tools(vendor: str, tmp_path: Path) -> None:
    async with Simulator() as simulator:
        url = f"http://{simulator.host}:{simulator.port}/{vendor}"
        model = VENDOR_ROWS[vendor].models[-1].id
        server = Running(SERVERS["llama-cpp"], url, model, "")
        async with (
            recording(server) as (recorded, exchanges),
            front_end(recorded, upstream_flavor=vendor, dialect="chat") as client,
        ):
            variables = await environment_for(client.url, KEY, model)
            variables["MAX_THINKING_TOKENS"] = "4000"
            async with claude_code.session(variables, tmp_path, tools="default") as session:
                turns = [
                    await session.turn(f"Use the Bash tool to run `echo scripted {number}`.") for number in range(TURNS)
                ]
    for number, turn in enumerate(turns):
        assert not turn.has_failed, turn.result
        assert [block["content"] for block in turn.blocks("tool_result")] == [f"scripted {number}"]
    assert [exchange.status for exchange in exchanges].count(400) <= MOST_REFUSED
    prompts = [exchange.body for exchange in exchanges if exchange.status == 200 and len(exchange.body["tools"]) > 5]
    assert len(prompts) >= 2 * TURNS
    for one, other in pairwise(prompts):
        assert orjson.dumps(one["tools"]) == orjson.dumps(other["tools"])
        earlier, later = one["messages"], other["messages"]
        assert orjson.dumps(later[: len(earlier)]) == orjson.dumps(earlier)
