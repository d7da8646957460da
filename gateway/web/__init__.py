"""HTTP towards clients: aiohttp.web in front of the exchange. Rules about requests belong below, in `messages`.

From socket to handler: `listener`, `connection`, `dispatch`, `middleware`, `auth`; `routes` lists every path, `api/`
and `admin/` hold the handlers. Bodies: `body`, `arrivals`. Replies: `reply`, `openai_errors`, `client_face`. Browsers:
`cors`, `browsers`. Paths that answer without an exchange: `not_offered`, `switched_off`, `prefixes`.
"""
