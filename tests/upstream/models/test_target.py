"""Facts for conversion that follow from a model's slug alone."""

import pytest

from gateway.upstream.models.target import bare_name, claude_version, same_model, to_family, to_slug, to_target
from gateway.upstream.vendors.registry import COMPATIBLE, OPENROUTER

FAMILIES = [
    ("anthropic/claude-sonnet-4.5", "claude"),
    ("~anthropic/claude-opus-latest", "claude"),
    ("claude-opus-4-5-20251101", "claude"),
    ("google/gemini-2.5-flash:nitro", "gemini"),
    ("google/gemma-3", "other"),
    ("openai/gpt-5", "openai"),
    ("openai/o3", "openai"),
    ("openai/gpt-oss-120b", "other"),
    ("gpt-4o", "openai"),
    ("chatgpt-4o-latest", "openai"),
    ("x-ai/grok-4", "xai"),
    ("deepseek/deepseek-v4", "deepseek"),
    ("meta-llama/llama-5", "meta"),
    ("openrouter/auto", "other"),
    # By the name alone
    ("o1-mini", "openai"),
    ("o3", "openai"),
    ("o4-mini", "openai"),
    ("grok-4", "xai"),
    ("deepseek-v4", "deepseek"),
    ("some-host/gemini-3-pro", "gemini"),
    # By the author alone
    ("anthropic/next", "claude"),
    ("~OpenAI/codex-mini", "openai"),
    ("x-ai/next", "xai"),
    ("xai/next", "xai"),
    ("deepseek/next", "deepseek"),
    ("meta/next", "meta"),
    ("my-vllm", "other"),
]


@pytest.mark.parametrize(("model", "family"), FAMILIES)
def test_the_family_of_a_model(model: str, family: str) -> None:
    assert to_family(model) == family


def test_a_bare_name_has_no_author_variant_or_preset() -> None:
    assert bare_name("~Anthropic/Claude-Opus-Latest:nitro@preset/x") == "claude-opus-latest"


VERSIONS = [
    ("anthropic/claude-opus-4.5", (4, 5)),
    ("claude-opus-4-5-20251101", (4, 5)),
    ("claude-sonnet-4-20250514", (4, 0)),
    ("anthropic/claude-3.7-sonnet", (3, 7)),
    ("claude-3-5-haiku-20241022", (3, 5)),
    ("anthropic/claude-opus-5", (5, 0)),
    ("claude-fable-5-1", (5, 1)),
    ("~anthropic/claude-opus-latest", (99, 0)),
    ("anthropic/claude-mythos-preview", (99, 0)),
]


@pytest.mark.parametrize(("model", "version"), VERSIONS)
def test_the_version_in_a_claude_name(model: str, version: tuple[int, int]) -> None:
    assert claude_version(model) == version


SLUGS = [
    ("claude-opus-4-5-20251101", "anthropic/claude-opus-4.5"),
    ("claude-opus-4-5", "anthropic/claude-opus-4.5"),
    ("claude-sonnet-4-20250514", "anthropic/claude-sonnet-4"),
    ("claude-3-7-sonnet-20250219", "anthropic/claude-3.7-sonnet"),
    ("claude-3-7-sonnet-latest", "anthropic/claude-3.7-sonnet"),
    ("claude-3-5-sonnet-20241022", "anthropic/claude-3.5-sonnet"),
    ("claude-3-haiku-20240307", "anthropic/claude-3-haiku"),
    ("claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4.5"),
    ("claude-opus-5", "anthropic/claude-opus-5"),
    ("claude-fable-5-1", "anthropic/claude-fable-5.1"),
    ("anthropic/claude-opus-4.5", "anthropic/claude-opus-4.5"),
    ("openai/gpt-5", "openai/gpt-5"),
    ("gpt-5", "gpt-5"),
    ("claude-host/model-4-5", "claude-host/model-4-5"),
]


@pytest.mark.parametrize(("model", "slug"), SLUGS)
def test_a_bare_claude_id_becomes_a_slug(model: str, slug: str) -> None:
    assert to_slug(model) == slug


SAME = [
    ("a/b:nitro", "a/b", True),
    ("~A/b@preset/x", "a/b", True),
    ("a/b", "a/c", False),
    ("a/b", "c/b", False),
    ("anthropic/claude-opus-5", "claude-sonnet-4-5", True),
    ("anthropic/claude-opus-5", "openai/gpt-5", False),
]


@pytest.mark.parametrize(("one", "other", "expected"), SAME)
def test_whether_two_slugs_name_one_model(one: str, other: str, expected: bool) -> None:
    assert same_model(one, other) is expected
    assert same_model(other, one) is expected


PREFILL = [
    ("anthropic/claude-sonnet-4.5", True),
    ("anthropic/claude-opus-4.6", False),
    ("anthropic/claude-sonnet-5", False),
    ("~anthropic/claude-opus-latest", False),
    ("openai/gpt-5", True),
]


@pytest.mark.parametrize(("model", "prefill"), PREFILL)
def test_newer_claudes_take_no_prefill(model: str, prefill: bool) -> None:
    assert to_target(model, OPENROUTER).prefill is prefill
    assert to_target(bare_name(model), COMPATIBLE).prefill is prefill


BUDGETS = [
    ("anthropic/claude-opus-4.6", True),
    ("anthropic/claude-opus-4.7", False),
    ("google/gemini-3-pro", True),
    ("openai/gpt-5", False),
    ("someone/like-claude-3.5", False),
]


@pytest.mark.parametrize(("model", "takes"), BUDGETS)
def test_which_models_take_a_thinking_budget(model: str, takes: bool) -> None:
    assert to_target(model, OPENROUTER).reasoning.supports_max_tokens is takes


MANDATORY = [
    ("openai/o3-mini", True),
    ("openai/gpt-5", True),
    ("openai/gpt-5-mini", True),
    ("openai/gpt-5.5", False),
    ("openai/gpt-5-chat", False),
    ("google/gemini-2.5-pro", True),
    ("google/gemini-3.1-pro-preview", True),
    ("google/gemini-2.5-flash", False),
    ("anthropic/claude-fable-5", True),
    ("deepseek/deepseek-r1", True),
    ("deepseek/deepseek-v4", False),
]


@pytest.mark.parametrize(("model", "mandatory"), MANDATORY)
def test_which_models_always_think(model: str, mandatory: bool) -> None:
    assert to_target(model, OPENROUTER).reasoning.mandatory is mandatory


STRICT = [
    # model, style, efforts, field of the limit, stops, field of earlier reasoning
    ("gpt-4o", "none", (), "max_tokens", 0, None),
    ("gpt-5-chat", "none", (), "max_tokens", 0, None),
    ("gpt-5-mini", "fields", ("minimal", "low", "medium", "high"), "max_completion_tokens", 0, None),
    ("gpt-5.5", "fields", ("none", "low", "medium", "high", "xhigh"), "max_completion_tokens", 0, None),
    ("o4-mini", "fields", ("low", "medium", "high"), "max_completion_tokens", 0, None),
    ("gemini-3-flash", "fields", ("none", "minimal", "low", "medium", "high"), "max_tokens", 0, None),
    ("deepseek-v4", "fields", (), "max_tokens", 0, "reasoning_content"),
    ("qwen-next", "fields", (), "max_tokens", 0, "reasoning_content"),
    ("someone/o7-like", "fields", (), "max_tokens", 0, "reasoning_content"),
]


@pytest.mark.parametrize(("model", "style", "efforts", "limit", "stops", "replay"), STRICT)
def test_a_strict_upstream_by_its_model(
    model: str, style: str, efforts: tuple[str, ...], limit: str, stops: int, replay: str | None
) -> None:
    target = to_target(model, COMPATIBLE)
    assert (target.reasoning.style, target.reasoning.supported_efforts) == (style, efforts)
    assert target.reasoning.mandatory is (bool(efforts) and "none" not in efforts)
    assert (target.max_tokens_field, target.stop_limit, target.reasoning_field) == (limit, stops, replay)
    assert not target.cache_control
    assert not target.media_in_tool_results
    assert not target.openrouter


@pytest.mark.parametrize(("model", "limit"), [("openai/gpt-5.5", 0), ("openai/gpt-4o", 4), ("qwen/qwen3", 4)])
def test_openais_reasoning_models_take_no_stops_on_openrouter_either(model: str, limit: int) -> None:
    assert to_target(model, OPENROUTER).stop_limit == limit


def test_openrouter_takes_everything() -> None:
    target = to_target("openai/gpt-5", OPENROUTER)
    assert target.model == "openai/gpt-5"
    assert (target.cache_control, target.media_in_tool_results, target.openrouter) == (True, True, True)
    assert (target.max_tokens_field, target.reasoning_field) == ("max_tokens", "reasoning_details")
    assert not target.claude
    assert to_target("anthropic/claude-opus-5", OPENROUTER).claude
