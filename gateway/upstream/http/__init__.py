"""Calls to upstreams. `client` is the interface.

`http_client` is the fast transport: `pool` keeps connections (`connection`) that `dialer` opens, `http1` writes
requests and parses answers, `answer` is one of them, `deadline` bounds it. `proxy_client` is the transport through a
proxy, on aiohttp. `forwarding` adds clients' headers.
"""
