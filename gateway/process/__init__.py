"""Life of a process: `tasks` that repeat, `signals`, the `supervisor` of several processes, `health`, `gc_tuning`, and
the `build` it runs.

Also what keeps aiohttp's server safe: `http_guard` limits what a connection may send, `descriptors`, `ports` and
`sockets` handle the operating system's side, and `aiohttp_internals` is the only place with aiohttp's private names.
`repeated_heads` spares its parser the headers that a connection has sent before.
"""
