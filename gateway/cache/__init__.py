"""The gateway's own prompt cache: whole answers in Redis. Not `cache_control`, which is for the upstream's."""
