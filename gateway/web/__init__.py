"""HTTP towards clients: aiohttp.web in front of the exchange. Rules about requests belong below, in `messages`.

From socket to handler: `listener`, `connection`, `dispatch`, `middleware`, `auth` (with `addresses`, `wrong_keys`);
`routes` lists every path, `api/`, `admin/` and `console/` hold the handlers, which find the parts of `applications` by
`app_keys`. Bodies: `body`, `arrivals`. Replies: `reply`, `openai_errors`, `client_face`. Browsers: `cors`, `browsers`.
Paths that answer without an exchange: `not_offered`, `switched_off`, `prefixes`. Telemetry: `otlp`, `tracing`.
"""
