"""Build the parts that front ends and workers share from settings.

`exchange` builds the exchange, `access` keys and limits, `network` connections, `stores` the stores in Redis, `caching`
the prompt cache and threads. No other module builds these, so that front ends, workers and commands agree.
"""

from gateway.wiring.access import build_admission, fill_directory, keep_access, open_access_store
from gateway.wiring.caching import build_cache_store, build_threads, open_cache, open_cache_upkeep
from gateway.wiring.exchange import build_exchange, build_redactor, open_reload, show_upstreams
from gateway.wiring.network import build_client, to_guard
from gateway.wiring.stores import (
    Stores,
    build_batch_server,
    check_batch_server,
    load_keyring,
    open_batch_server,
    open_stores,
    to_start_problem,
)

__all__ = [
    "Stores",
    "build_admission",
    "build_batch_server",
    "build_cache_store",
    "build_client",
    "build_exchange",
    "build_redactor",
    "build_threads",
    "check_batch_server",
    "fill_directory",
    "keep_access",
    "load_keyring",
    "open_access_store",
    "open_batch_server",
    "open_cache",
    "open_cache_upkeep",
    "open_reload",
    "open_stores",
    "show_upstreams",
    "to_guard",
    "to_start_problem",
]
