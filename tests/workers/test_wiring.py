"""The loops that an open worker runs beside its batches."""

from gateway.settings import load_settings
from tests.workers.conftest import Bench
from workers.wiring import open_worker


async def test_worker_reads_the_upstreams_list_of_models_at_its_start(bench: Bench) -> None:
    settings = load_settings(
        secret="t:secret", upstream_url=bench.simulator.url, upstream_flavor="openrouter", redis_url=bench.url
    )
    async with open_worker(settings):
        assert (await bench.simulator.received(on="GET /models")).on == "GET /models"
