"""Anthropic's Messages, independent of the upstream's dialect: pure functions and values.

    validation/   checks a request at the door
    tokens/       counts or estimates a prompt's tokens
    tools/        Anthropic's typed tools and the cache of tool lists

`prompt` reads a request, with the caches of what requests repeat (`turn_cache`, `system_cache`, and that of tools).
`events`, `fold` and `replay` write, collect and repeat an event stream; `usage` counts its tokens. `envelope` seals
what travels through a client, `openai_breakpoints` converts cache breakpoints, and `notes` are conversion warnings.
"""
