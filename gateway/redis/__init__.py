"""Redis: every key (`keys`), every script (`scripts/`), and every way to the server.

`connections` makes clients with their timeouts, `url` checks addresses, `cluster` and `server` run commands near their
keys, `failures` turns errors into ours, `breaker` stops calls to an unavailable server, `codec` packs values,
`answer_limit` bounds replies. `embedded` starts a server for development.
"""
