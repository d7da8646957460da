"""vLLM without parsers for tools and reasoning, as it is often started. Last, since the server restarts for it."""

from tests.servers.cases import HELLO, WEATHER
from tests.servers.conftest import PATIENT, Servers, front_end, on_servers

pytestmark = PATIENT


@on_servers("vllm")
async def test_a_missing_parser_is_reported_in_the_servers_words(servers: Servers, name: str) -> None:
    async with front_end(servers.get(name, parsers=False)) as client:
        answer = await client.ask(messages="#tool", tools=[WEATHER])
        text = await client.ask(messages="hi")
    assert (answer.status, text.text) == (400, HELLO)
    assert "--tool-call-parser" in answer.message
