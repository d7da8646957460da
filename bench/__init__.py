"""Measure the gateway beside other proxies, in one run on one machine: `python -m bench`.

    compare   cost of a request and of a streamed delta in CPU, latency and memory, and the goals for them
    streams   ten thousand streams at once, each checked for deltas that belong to another
    sweep     the same figures over request sizes, numbers of streams and of connections; `plots` draws them
    limits    cost of limits and budgets of keys
    show      the tables of a stored run

Not part of the installed gateway. Do not compare figures of different runs; compare the ratios within one run.
"""
