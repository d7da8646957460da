"""Run llama.cpp's own HTTP server, which the package xllamacpp carries, until the process is ended."""

import argparse
import json
import time
from pathlib import Path

import xllamacpp


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--pooled", action="store_true")
    parser.add_argument("--key")
    parser.add_argument("--template", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="any parameter of the server")
    arguments = parser.parse_args()
    server = xllamacpp.Server(to_parameters(arguments))  # listens at once and answers 503 while it loads
    while server:
        time.sleep(60)


def to_parameters(arguments: argparse.Namespace) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = arguments.model
    parameters.model_alias = [arguments.name]
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = arguments.port
    parameters.n_parallel = arguments.slots
    parameters.n_ctx = arguments.context if arguments.pooled else arguments.context * arguments.slots
    parameters.kv_unified = arguments.pooled
    parameters.cpuparams.n_threads = 1
    parameters.endpoint_metrics = True
    if arguments.key:
        parameters.api_keys = [arguments.key]
    if arguments.template:
        parameters.chat_template = arguments.template.read_text()
    for pair in arguments.set:
        name, _, value = pair.partition("=")
        setattr(parameters, name, to_value(name, value))
    return parameters


def to_value(name: str, value: str) -> object:
    if name == "reasoning_format":
        return getattr(xllamacpp.common_reasoning_format, f"COMMON_REASONING_FORMAT_{value.upper()}")
    return json.loads(value)


if __name__ == "__main__":
    main()
