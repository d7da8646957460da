"""Visit every page of the console at three widths in both schemes: photographs, axe, sideways scroll, complaints;
then the longest tasks of the page under strain.

python -m tests.console [FOLDER]
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import async_playwright

from tests.console.browser import ARGUMENTS, chromium
from tests.console.stage import ADMIN_KEY, fill_quarter_hour, spend_a_month, staged, tell_a_story, working
from tests.console.visit import Visit, signed_in

WIDTHS = (360, 768, 1280)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
BUSY_EVENTS = 10_000
# A frame at 20 a second.
SLOW_TASK_MS = 50
MOST_HEAP = 60_000_000


async def main(folder: Path) -> int:
    problems: list[str] = []
    async with staged() as stage, working(stage), async_playwright() as playwright:
        await spend_a_month(stage.redis_url)
        await fill_quarter_hour(stage.redis_url)
        await stage.create_batch("acme", 40)
        await stage.api("POST", "/api/keys", json={"name": "ci", "workspace_id": "acme"})
        await tell_a_story(stage)
        failed = await stage.seen(5, "&status=failed")
        batch = await stage.create_batch("research", 400)
        pages = {"now": "/", "request": f"/r/{failed[0]['request_id']}", "errors": "/errors", "spend": "/spend"}
        pages |= {"batches": "/batches", "batch": f"/batches/{batch}", "fleet": "/fleet", "keys": "/keys"}
        browser = await playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        for scheme in SCHEMES:
            for width in WIDTHS:
                async with signed_in(browser, stage.admin_url, ADMIN_KEY, width=width, scheme=scheme) as visit:
                    for name, path in pages.items():
                        await visit.show(path)
                        await visit.page.wait_for_timeout(300)
                        await visit.page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
                        problems += [f"{name}, {width}, {scheme}: {one}" for one in await faults_of(visit)]
        async with signed_in(browser, stage.admin_url, ADMIN_KEY) as visit:
            problems += await strain_of(visit)
        await browser.close()
    sys.stdout.write("\n".join(problems or ["no problems"]) + f"\npictures: {folder}\n")
    return 1 if problems else 0


async def faults_of(visit: Visit) -> list[str]:
    """Return what axe finds, whether the page scrolls sideways, and what the browser complained about."""
    results = await Axe().run(visit.page)
    found = [
        f"axe: {violation['id']}: {node['html'][:120]}"
        for violation in results.response["violations"]
        for node in violation["nodes"]
    ]
    wide = await visit.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    found += [f"scrolls sideways by {wide} px"] if wide > 0 else []
    found += visit.complaints + visit.foreign
    visit.complaints.clear()
    visit.foreign.clear()
    return found


async def strain_of(visit: Visit) -> list[str]:
    """Feed 10,000 rows in ten seconds, as if events had brought them, then list 10,000 keys. Measure the processor time
    of the longest task of the page (script, layout and paint of a frame), which other work on the machine does not
    change, and the heap."""
    await visit.page.add_init_script(SOURCE)
    await visit.show("/")
    feeding = await busiest(visit, lambda: visit.page.evaluate(STRAIN, BUSY_EVENTS))
    heap = await visit.page.evaluate("performance.memory.usedJSHeapSize")
    await visit.page.route("**/api/keys", lambda route: route.fulfill(json=many_keys(BUSY_EVENTS)))
    listing = await busiest(visit, lambda: visit.show("/keys"))
    sys.stdout.write(
        f"10,000 events in 10 s: longest task {feeding:.0f} ms, heap {heap / 1e6:.0f} MB; "
        f"10,000 keys: longest task {listing:.0f} ms\n"
    )
    tasks = {"of 10,000 events": feeding, "for a list of 10,000 keys": listing}
    found = [f"a task {name} takes {slow:.0f} ms" for name, slow in tasks.items() if slow > SLOW_TASK_MS]
    return found + ([f"the heap is {heap / 1e6:.0f} MB"] if heap > MOST_HEAP else [])


async def busiest(visit: Visit, act: Callable[[], Awaitable[object]]) -> float:
    """Return the processor time of the page's longest task meanwhile, in milliseconds."""
    browser = visit.page.context.browser
    assert browser is not None
    await browser.start_tracing(page=visit.page, categories=["toplevel", "devtools.timeline"])
    await act()
    await visit.page.wait_for_timeout(500)
    events = json.loads(await browser.stop_tracing())["traceEvents"]
    threads = [one for one in events if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"]
    mains = {(one["pid"], one["tid"]) for one in threads}
    return max(one.get("tdur", 0) for one in events if (one["pid"], one.get("tid")) in mains) / 1000


def many_keys(number: int) -> dict[str, Any]:
    facts = {"tenant": "acme", "status": "active", "source": "made", "limits": {"requests_per_minute": 60}}
    keys = [{"id": f"key_{place}", "name": f"name {place}", **facts} for place in range(number)]
    return {"data": keys, "auth": "keys", "can_make": True}


# In place of the browser's own source of events.
SOURCE = """window.EventSource = class extends EventTarget {
  constructor() { super(); window.consoleEvents = this; }
  close() {}
}"""
STRAIN = """async (total) => {
  const source = window.consoleEvents;
  for (let tenth = 0; tenth < 100; tenth += 1) {
    for (let number = 0; number < total / 100; number += 1) {
      const row = {request_id: `req_${tenth}_${number}`, at: Date.now() / 1000, status: 200, stop: "end_turn",
        tenant: "acme", model: "m", input_tokens: 1, output_tokens: 1, seconds: 0.1, notes: [], calls: []};
      source.dispatchEvent(new MessageEvent("exchange", {data: JSON.stringify(row)}));
    }
    await new Promise((done) => setTimeout(done, 100));
  }
}"""


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "console-pictures"))))
