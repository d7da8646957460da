"""Drills: restarts and kills under load, an upgrade and its rollback, and alerts that must fire."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cluster.batches import Batches
from tests.cluster.cluster import CLIENT_KEY, Cluster, Failed, running
from tests.cluster.load import Say, under_load
from tests.cluster.programs import ROOT
from tests.cluster.queries import answer, ask_all

ALERT_SECONDS = 60.0
REDIS_AWAY = 1.5


async def faults(say: Say, *, short: bool) -> list[str]:
    """Every process restarted in turn under load; one front end, one worker and Redis killed."""
    async with running() as cluster:
        async with under_load(cluster, say, "faults", items=150 if short else 700, pause=0.3 if short else 2.0) as load:
            for name in cluster.posts:
                await load.restart(name)
            await load.step("SIGTERM redis, start", cluster.restart_redis)
            await load.step("SIGUSR2 haproxy (reload)", cluster.balancer.reload)
            await load.step("SIGTERM prometheus, start", cluster.restart_prometheus)
            await load.kill_worker("worker-1")
            await load.kill_front("front-1")
            await load.step(f"kill -9 redis, {REDIS_AWAY} s away", partial(cluster.kill_redis, REDIS_AWAY))
            say("  the queries of docs/metrics.md, while the load goes on:")
            load.failures += await ask_all(cluster.prometheus, say)
        return load.failures + await all_took_part(cluster, say)


async def all_took_part(cluster: Cluster, say: Say) -> list[str]:
    """Both front ends answered live requests, both workers recorded results, and no stream is left open."""
    failures = []
    for role, query in (
        ("front", 'sum by (instance) (gateway_http_replies_total{route="/v1/messages", status="200"}) > 0'),
        ("worker", 'sum by (instance) (gateway_batch_results_total{result="succeeded"}) > 0'),
    ):
        found = {one["metric"]["instance"]: one["value"][1] for one in await answer(cluster.prometheus, query)}
        names = {f"127.0.0.1:{post.admin_port}": post.name for post in cluster.posts.values() if post.role == role}
        say("  " + ", ".join(f"{names[at]}: {count} since its last start" for at, count in sorted(found.items())))
        failures += [f"{name} took no part" for at, name in names.items() if at not in found]
    if not await answer(cluster.prometheus, "sum(gateway_streams_open) == 0"):
        failures.append("streams are still open")
    return failures


async def upgrade(say: Say, *, previous: str) -> list[str]:
    """The previous version's processes replaced one by one by this one's, and back, on one Redis with live batches."""
    with worktree(previous) as old:
        async with running(source=old) as cluster, under_load(cluster, say, "old", items=500, pause=1.5) as load:
            for name in cluster.posts:
                await load.step(f"upgrade {name}", partial(cluster.restart, name, ROOT))
            await load.batches.submit("new", 500)
            for name in cluster.posts:
                await load.step(f"roll back {name}", partial(cluster.restart, name, old))
        return load.failures


@contextmanager
def worktree(reference: str) -> Iterator[Path]:
    """The project at a git reference, in its own folder. Raises Failed where there is none."""
    with TemporaryDirectory(prefix="cluster-old-") as parent:
        folder = Path(parent) / "tree"
        run("git", "worktree", "add", "--detach", str(folder), reference)
        try:
            loaded = run(sys.executable, "-c", "import gateway; print(gateway.__file__)", folder=folder)
            if not loaded.startswith(str(folder.resolve())):
                raise Failed(f"the previous version would be run from {loaded}")
            yield folder
        finally:
            run("git", "worktree", "remove", "--force", str(folder))


def previous_reference() -> str:
    """Return the last commit if the tree has changes; else the commit before."""
    return "HEAD" if run("git", "status", "--porcelain", "--untracked-files=no") else "HEAD~1"


def run(*command: str, folder: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command[:3])}: {done.stderr.strip()}")
    return done.stdout.strip()


async def alerts(say: Say) -> list[str]:
    """The shipped rules, with 3 s instead of minutes to wait: silent while all is well, then each of these fires."""
    async with running(fronts=1, workers=1, impatient=True) as cluster:
        batches = Batches(cluster.url, CLIENT_KEY)
        try:
            await batches.ended(await batches.submit("calm", 5))
            failures = [f"{name} fires while all is well" for name in await firing(cluster)]
            await cluster.empty("worker-1")
            await batches.submit("waiting", 5)
            await until_firing(cluster, say, "DragomanNoWorkers", "DragomanProcessDown")
            await cluster.server.kill()
            await until_firing(cluster, say, "DragomanRedisDown")
            await cluster.empty("front-1")
            await until_firing(cluster, say, "DragomanNoFrontEnd")
            await cluster.server.start()
            await cluster.fill("front-1")
            await cluster.fill("worker-1")
            await until_firing(cluster, say)
            await batches.check_all()
            return failures + batches.wrong
        finally:
            await batches.close()


async def until_firing(cluster: Cluster, say: Say, *names: str) -> None:
    """Wait until these alerts fire; without a name, until none does. Raises Failed."""
    begun = time.monotonic()
    while True:
        found = await firing(cluster)
        if found.issuperset(names) and (names or not found):
            break
        if time.monotonic() - begun > ALERT_SECONDS:
            raise Failed(f"waited for {names or 'no alert'}, but {sorted(found)} fire")
        await asyncio.sleep(0.5)
    said = f"{', '.join(names)} fires" if names else "all are silent again"
    say(f"  {said} after {time.monotonic() - begun:.0f} s")


async def firing(cluster: Cluster) -> set[str]:
    found = (await cluster.prometheus.ask("alerts"))["alerts"]
    return {one["labels"]["alertname"] for one in found if one["state"] == "firing"}
