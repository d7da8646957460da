"""An OpenRouter look-alike for `dragoman dev`, tests, docs and benchmarks. No model is behind it, as its answers say.

`server.application` is the server, `loopback.Simulator` puts it on a real port, scripts its answers and records what it
was asked. What it says is made of values: `models` maps a model's name to a `script`, and `shapes` knows the wire.
"""
