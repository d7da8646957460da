"""Lists of models and counts of tokens, compared with those of a real server."""

import socket

import pytest

from tests.servers.cases import WEATHER
from tests.servers.client import user
from tests.servers.conftest import PATIENT, Servers, front_end, on_servers
from tests.servers.launch import HOST
from tests.servers.registry import SERVERS
from tests.servers.running import Running

pytestmark = PATIENT

ALL = "llama-cpp vllm sglang litellm transformers llama-cpp-python"


@on_servers("llama-cpp vllm sglang")
async def test_the_list_of_models_has_the_servers_length_of_context(servers: Servers, name: str) -> None:
    async with front_end(servers.get(name)) as client:
        model = await client.get(f"/v1/models/{client.model}")
    assert model["max_input_tokens"] == 8192


@on_servers(ALL)
async def test_the_list_of_models_has_no_names_of_another_upstream(servers: Servers, name: str) -> None:
    async with front_end(servers.get(name)) as client:
        listed = (await client.get("/v1/models"))["data"]
    assert [model["id"] for model in listed if "~" in model["display_name"]] == []


@on_servers("llama-cpp")
async def test_a_list_of_models_that_the_server_did_not_give_is_refused_or_marked(servers: Servers, name: str) -> None:
    async with front_end(servers.get(name)) as client:
        complete = await client.session.get(f"{client.url}/v1/models")
    async with front_end(absent_server()) as client:
        response = await client.session.get(f"{client.url}/v1/models")
    marks = {header for header in response.headers if header.lower().startswith("x-gateway-")}
    assert response.status == 503 or marks - set(complete.headers)


@on_servers("llama-cpp vllm")
async def test_tokens_are_counted_as_the_server_counts_them(servers: Servers, name: str) -> None:
    prompt = {"messages": [user("hi")], "tools": [WEATHER], "system": "You help."}
    async with front_end(servers.get(name)) as client:
        counted = await client.post("/v1/messages/count_tokens", {"model": client.model, **prompt})
        answer = await client.ask(**prompt)
    assert counted["input_tokens"] == pytest.approx(answer.input_tokens, rel=0.02)


@on_servers("vllm")
async def test_message_start_has_the_exact_input_where_the_server_reports_it(servers: Servers, name: str) -> None:
    async with front_end(servers.get(name)) as client:
        answer = await client.ask(messages="hi", tools=[WEATHER], stream=True)
    assert answer.start_input_tokens == answer.input_tokens


@on_servers("vllm")
async def test_tokens_written_to_the_servers_cache_are_reported(servers: Servers, name: str) -> None:
    async with front_end(servers.get(name)) as client:
        answer = await client.ask(messages="a prompt of this test alone" + " alpha beta" * 300)
    assert answer.usage["cache_creation_input_tokens"] > 0


def absent_server() -> Running:
    """A server at a port where nothing listens."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        url = f"http://{HOST}:{listener.getsockname()[1]}"
    return Running(SERVERS["llama-cpp"], url, "scripted", "none")
