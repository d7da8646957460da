"""Configurations of other gateways as parts of a gateway.toml.

`source` reads a file and knows its lines, `result` collects upstreams, routes and notes and writes TOML. `litellm`
(with `deployments` and `providers`) and `claude_code_router` have the rules, each for one gateway.
"""
