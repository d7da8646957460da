"""Redis: every key, every script, the connections, and the embedded server."""
