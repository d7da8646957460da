"""Reports of a process about itself. Labels and fields come from closed sets; prompts and secrets never get here.

`usage` is the record of one exchange, which all others read: `logs` writes one line of it (through `log_writer`, a
thread), `counters` adds it up for `metrics`. `activity` and `activity_store` feed the console; `monitors` and
`process_metrics` watch the event loop, Redis and memory; `redaction` removes keys and
private addresses from upstreams' texts.
"""
