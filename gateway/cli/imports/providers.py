"""LiteLLM's names of providers: the vendor that each is here, the address and the variable of the key.

Facts are those of litellm 1.110 and its documentation (2026-11).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

VENDORS: Final = {
    "openai": "openai",
    "azure": "azure",
    "azure_ai": "azure",
    "anthropic": "anthropic",
    "openrouter": "openrouter",
    "gemini": "gemini",
    "groq": "groq",
    "mistral": "mistral",
    "codestral": "mistral",
    "deepseek": "deepseek",
    "xai": "xai",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "cerebras": "cerebras",
    "moonshot": "moonshot",
    "zai": "zhipu",
    "dashscope": "qwen",
    "minimax": "minimax",
    "bedrock": "bedrock",
    "bedrock_converse": "bedrock",
    "hosted_vllm": "vllm",
    "ollama_chat": "ollama",
    "ollama": "ollama",
    "lm_studio": "lmstudio",
    "litellm_proxy": "litellm",
}
# Addresses of other providers that speak chat completions.
BASES: Final = {
    "ai21": "https://api.ai21.com/studio/v1",
    "ai21_chat": "https://api.ai21.com/studio/v1",
    "cohere": "https://api.cohere.ai/compatibility/v1",
    "cohere_chat": "https://api.cohere.ai/compatibility/v1",
    "deepinfra": "https://api.deepinfra.com/v1/openai",
    "featherless_ai": "https://api.featherless.ai/v1",
    "friendliai": "https://api.friendli.ai/serverless/v1",
    "github": "https://models.inference.ai.azure.com",
    "huggingface": "https://router.huggingface.co/v1",
    "hyperbolic": "https://api.hyperbolic.xyz/v1",
    "lambda_ai": "https://api.lambda.ai/v1",
    "meta_llama": "https://api.llama.com/compat/v1",
    "nebius": "https://api.studio.nebius.ai/v1",
    "novita": "https://api.novita.ai/v3/openai",
    "nscale": "https://inference.api.nscale.com/v1",
    "nvidia_nim": "https://integrate.api.nvidia.com/v1",
    "perplexity": "https://api.perplexity.ai",
    "sambanova": "https://api.sambanova.ai/v1",
    "v0": "https://api.v0.dev/v1",
    "vercel_ai_gateway": "https://ai-gateway.vercel.sh/v1",
    "volcengine": "https://ark.cn-beijing.volces.com/api/v3",
    "wandb": "https://api.inference.wandb.ai/v1",
}
# Variables from which LiteLLM takes the key of a deployment that has none; others are the provider's name and _API_KEY.
KEYS: Final = {
    "azure_ai": "AZURE_AI_API_KEY",
    "bedrock": "AWS_BEARER_TOKEN_BEDROCK",
    "bedrock_converse": "AWS_BEARER_TOKEN_BEDROCK",
    "cohere_chat": "COHERE_API_KEY",
    "ai21_chat": "AI21_API_KEY",
    "perplexity": "PERPLEXITYAI_API_KEY",
    "together_ai": "TOGETHERAI_API_KEY",
    "v0": "V0_API_KEY",
}
# Providers without a fixed address, and the variable from which LiteLLM takes it.
ADDRESSES: Final = {
    "azure": "AZURE_API_BASE",
    "azure_ai": "AZURE_AI_API_BASE",
    "hosted_vllm": "HOSTED_VLLM_API_BASE",
    "litellm_proxy": "LITELLM_PROXY_API_BASE",
    "lm_studio": "LM_STUDIO_API_BASE",
}
# Paths that LiteLLM adds to the address of a server.
PATHS: Final = {"azure": "/openai/v1", "ollama": "/v1", "anthropic": "/v1"}
# Servers of an operator's own, which often ask for no key.
OWN: Final = frozenset({"hosted_vllm", "ollama_chat", "ollama", "lm_studio"})
# Parts that LiteLLM puts between provider and model to choose an API.
ROUTES: Final = re.compile(r"(responses|chat|converse|converse_like|invoke|o_series|gpt5_series|chat_completion)/(?=.)")
# Names without a provider that are not OpenAI's.
NAMES: Final = (
    (r"claude-", "anthropic"),
    (r"gemini-", "vertex_ai"),
    (r"(\w+\.)?(anthropic|amazon|meta|mistral|cohere|deepseek|ai21)\.", "bedrock"),
    (r"deepseek-", "deepseek"),
    (r"command-", "cohere_chat"),
)
AZURE_HOSTS: Final = re.compile(r"(https://[^/]+\.(?:openai|services\.ai|cognitiveservices)\.azure\.com)(?:/.*)?")
# Ends of addresses that name one API: paths are put behind an address here.
API_PATHS: Final = re.compile(r"/(chat/completions|completions|responses|messages|models)$")


@dataclass(frozen=True, slots=True)
class Provider:
    """`dialect`: "" for what the vendor's row says."""

    name: str
    model: str
    dialect: str = ""

    @property
    def vendor(self) -> str:
        return VENDORS.get(self.name, "")

    @property
    def key_variable(self) -> str:
        return KEYS.get(self.name, re.sub(r"[^A-Z0-9]+", "_", self.name.upper()) + "_API_KEY")


def to_provider(params: Mapping[str, Any]) -> Provider:
    """Return the provider of a deployment, as LiteLLM finds it: set, in front of the model's name, or by the name."""
    model = str(params.get("model") or "")
    chosen = str(params.get("custom_llm_provider") or "")
    first, slash, rest = model.partition("/")
    if chosen:
        model = rest if slash and first == chosen else model
    elif slash:
        chosen, model = first, rest
    else:
        chosen = next((name for pattern, name in NAMES if re.match(pattern, model)), "openai")
    route = ROUTES.match(model)
    if route is None or chosen not in ("openai", "azure", "bedrock"):
        return Provider(chosen, model)
    return Provider(chosen, model[route.end() :], "responses" if route[1] == "responses" else "")


def to_base(provider: Provider, address: str) -> str:
    """Return the v1 base of an address in LiteLLM's form."""
    if provider.vendor == "azure" and (host := AZURE_HOSTS.fullmatch(address)):
        claude = provider.model.startswith("claude") or "/anthropic" in address
        return host[1] + ("/anthropic/v1" if claude else "/openai/v1")
    base = API_PATHS.sub("", address.rstrip("/"))
    path = PATHS.get(provider.vendor, "")
    return base if base.endswith(path) or (path == "/openai/v1" and "/openai" in base) else base + path
