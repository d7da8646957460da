"""Reports of a process about itself. Labels and fields come from closed sets, and never include prompts or secrets.

`usage` is the record of one exchange, which all others read. `logs` writes its line (through `log_writer`, a thread),
and `counters` adds it up for `metrics`. `activity` and `activity_store` feed the console. `monitors` and
`process_metrics` watch the event loop, Redis and memory. `redaction` removes keys and private addresses from upstreams'
texts.
"""
