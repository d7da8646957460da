"""The table of vendors: how a row is found, that its facts reach the target, and that rows agree with each other."""

import pytest

from gateway.upstream.models.target import to_target
from gateway.upstream.vendors.adaptation import Adaptation
from gateway.upstream.vendors.registry import (
    COMPATIBLE,
    HOSTED,
    MARKED_PATHS,
    SERVERS,
    VENDORS,
    vendor_by_list,
    vendor_by_mark,
    vendor_of,
)


@pytest.mark.parametrize("vendor", HOSTED, ids=lambda vendor: vendor.name)
def test_a_hosted_vendor_is_found_by_its_hosts_and_their_subdomains(vendor: object) -> None:
    for host in vendor.hosts:  # type: ignore[attr-defined]
        assert vendor_of("auto", f"https://{host}/v1") is vendor
        assert vendor_of("auto", f"https://eu.{host}/v1") is vendor
        assert vendor_of("auto", f"https://not{host}/v1") is COMPATIBLE


@pytest.mark.parametrize("vendor", HOSTED, ids=lambda vendor: vendor.name)
def test_the_base_of_a_hosted_vendor_leads_back_to_it(vendor: object) -> None:
    assert vendor_of("auto", vendor.base) is vendor  # type: ignore[attr-defined]


def test_names_and_hosts_are_unique() -> None:
    rows = (*HOSTED, *SERVERS, COMPATIBLE)
    assert len(VENDORS) == len(rows)
    hosts = [host for row in rows for host in row.hosts]
    assert len(hosts) == len(set(hosts))


@pytest.mark.parametrize(
    ("headers", "entry", "name"),
    [
        ({"server": "llama.cpp"}, {"id": "m"}, "llamacpp"),
        ({}, {"id": "m", "owned_by": "llamacpp"}, "llamacpp"),
        ({"server": "uvicorn"}, {"id": "m", "owned_by": "vllm"}, "vllm"),
        ({}, {"id": "m", "owned_by": "sglang"}, "sglang"),
        ({}, {"id": "m", "owned_by": "library"}, "ollama"),
        ({"server": "uvicorn"}, {"id": "m", "owned_by": "openai"}, None),
        ({}, {"id": "m"}, None),
    ],
)
def test_a_server_is_recognised_by_its_list(headers: dict[str, str], entry: dict[str, str], name: str) -> None:
    found = vendor_by_list(headers, [entry])
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        ("/version", '{"version":"0.32.0"}', "vllm"),
        ("/api/version", '{"version":"0.30.1"}', "ollama"),
        ("/get_model_info", '{"model_path":"x","is_generation":true}', "sglang"),
        ("/health/liveliness", '"I\'m alive!"', "litellm"),
        ("/openapi.json", '{"info":{"title":"🦙 llama.cpp Python API"}}', "llama-cpp-python"),
        ("/openapi.json", '{"info":{"title":"FastAPI"},"paths":{"/load_model":{}}}', "transformers"),
        ("/openapi.json", '{"info":{"title":"FastAPI"},"paths":{}}', None),
    ],
)
@pytest.mark.covers("Upstreams · vendors recognised by host and by what they show")
def test_a_server_is_recognised_by_what_it_shows_at_a_path(path: str, text: str, name: str | None) -> None:
    assert path in MARKED_PATHS
    found = vendor_by_mark(path, text)
    assert (found.name if found else None) == name


def target(vendor: str, model: str = "some-model") -> object:
    return to_target(model, VENDORS[vendor])


@pytest.mark.parametrize(
    ("vendor", "model", "field", "value"),
    [
        ("groq", "openai/gpt-oss-120b", "max_tokens_field", "max_completion_tokens"),
        ("groq", "openai/gpt-oss-120b", "reasoning_field", "reasoning"),
        ("openai", "gpt-5.5", "max_tokens_field", "max_completion_tokens"),
        ("openai", "gpt-4o", "max_tokens_field", "max_tokens"),
        ("openai", "gpt-5.5", "reasoning_field", None),
        ("openai", "gpt-5.5", "adaptations", (Adaptation("effort_none_with_tools"),)),
        ("openai", "gpt-5.1", "adaptations", ()),
        ("openai", "gpt-5.4-chat", "adaptations", ()),
        (
            *("deepseek", "deepseek-v4", "adaptations"),
            (
                Adaptation("fill_reasoning", ("reasoning_content",)),
                Adaptation("forced_without_thinking", ("thinking",)),
            ),
        ),
        ("deepseek", "deepseek-reasoner", "adaptations", ()),
        ("vllm", "qwen3", "reasoning_field", "reasoning"),
        ("vllm", "qwen3", "continuous_usage", True),
        ("llamacpp", "qwen3", "keeps_parallel", False),
        ("compatible", "qwen3", "reasoning_field", "reasoning_content"),
        ("compatible", "gpt-oss-20b", "reasoning_field", "reasoning_content"),
        ("openrouter", "qwen/qwen3", "reasoning_field", "reasoning_details"),
    ],
)
def test_the_facts_of_a_row_reach_the_target(vendor: str, model: str, field: str, value: object) -> None:
    assert getattr(target(vendor, model), field) == value


def test_a_models_own_way_to_think_wins_over_its_vendors() -> None:
    assert to_target("kimi-k3", VENDORS["moonshot"]).reasoning.supported_efforts == ("low", "high", "max")
    assert to_target("kimi-k2.6", VENDORS["moonshot"]).reasoning.off == (("thinking.type", "disabled"),)


def test_path_that_a_proxy_is_known_by_comes_first_and_the_description_last() -> None:
    assert (MARKED_PATHS[0], MARKED_PATHS[-1]) == ("/health/liveliness", "/openapi.json")
    assert sorted(MARKED_PATHS) == sorted({path for vendor in SERVERS for path, _ in vendor.marks})
