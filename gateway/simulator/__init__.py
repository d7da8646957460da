"""Simulated OpenRouter for `dragoman dev`, tests, docs and benchmarks. No model is behind it, and its answers say so.

`server.application` is the server. `loopback.Simulator` runs it on a real port, scripts its answers and records its
requests. `models` maps a model's name to a `script`, and `shapes` has the wire format. `vendors/` simulates other
servers.
"""
