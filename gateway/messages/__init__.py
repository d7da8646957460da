"""Anthropic's Messages, independent of the upstream's dialect: pure functions and values.

    validation/   checks a request at the door
    tokens/       counts or estimates a prompt's tokens
    tools/        Anthropic's typed tools and the cache of tool lists

`events`, `fold` and `replay` write, collect and repeat an event stream; `envelope` seals what travels through a client;
`notes` are conversion warnings.
"""
