"""OpenAI chat completions: pure functions and values, in both directions.

    request/    a Messages request to a chat request
    response/   a chat answer, whole or streamed, to a message and its events

Shared by both directions: `vocabulary` (the tables), and what an answer carries to the client and the next request
brings back: `reasoning` and `citations`, sealed in an envelope.
"""
