"""The side that faces model servers: where a request goes, how it gets there, and when it is tried again.

Where: `config` reads settings into `routing` values; `table` maps a model's name to candidates, ordered by `affinity`
and `policy`; `catalog` reads upstreams' lists of models (`prices`, `model_facts`), `recognition` finds out what an
unnamed server is, `explain` shows a decision, `reload` swaps the table.
What it takes: `target` has the facts of a model, `vendor` and `vendors` those of a server; `learned` and
`learned_store` keep each `adaptation` that a refusal has taught.
How: `client` is the interface, `http_client` the fast transport (`pool`, `dialer`, `connection`, `http1`, `answer`,
`deadline`), `proxy_client` the one on aiohttp. `forwarding` adds clients' headers.
When again: `failure` decides for each `trouble` and names its cause (`causes`), `retry` waits; `health` and
`live_circuits` judge live calls, `circuit` and `circuits` those of batches. `series` are their metrics.
"""
