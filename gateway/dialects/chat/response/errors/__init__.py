"""An upstream's failure to the client's error: `client_error`, with `error_body` for any shape of body and
`failure_words` for its wording.

`embedded_errors` finds failures inside a 200; `overflow`, `refused_output` and `retry_hints` read one kind each.
"""
