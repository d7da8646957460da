"""Measures the gateway side by side with other proxies, in one run on one machine: `python -m bench`.

    compare   what a request and a streamed delta cost, in CPU, latency and memory, and the goals set for them
    streams   ten thousand streams at once, each looked at for deltas that belong to another
    sweep     the same figures over request sizes, numbers of streams and of connections; `plots` draws them
    limits    what limits and budgets of keys cost
    show      the tables of a run that was stored

No part of the installed gateway. Figures of different runs are not to be compared: the ratios within one are.
"""
