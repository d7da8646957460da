"""HTTP towards clients: aiohttp.web in front of the exchange."""
