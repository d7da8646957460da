"""Conversion between Anthropic's Messages and chat completions: pure functions and values, in both directions.

    validation/   is this a request that can be served?
    prompt/       a request on its way to the upstream
    answer/       what comes back, whole or as a stream
    tools/        what a request's tools are for an upstream
    tokens/       what a prompt costs

What lies beside them is known to several: where a request goes (`target`, `refine`), what its conversion shares
(`scope`, `notes`), what its answer must know of it (`reply`), the tables (`vocabulary`), and what goes to the client
with an answer and comes back with the next request (`reasoning`, `citations`, both sealed in an `envelope`).
"""
