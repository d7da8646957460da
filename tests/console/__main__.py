"""Photograph every page of the console at three widths in both schemes: python -m tests.console [FOLDER]."""

import asyncio
import sys
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, async_playwright

from tests.console.browser import ARGUMENTS, chromium
from tests.console.stage import ADMIN_KEY, Stage, fill_quarter_hour, spend_a_month, staged, tell_a_story, working

WIDTHS = (360, 768, 1280)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


async def main(folder: Path) -> None:
    async with staged() as stage, working(stage), async_playwright() as playwright:
        await spend_a_month(stage.redis_url)
        await fill_quarter_hour(stage.redis_url)
        await stage.create_batch("acme", 40)
        await tell_a_story(stage)
        await stage.api(
            "POST", "/api/keys", json={"name": "ci", "workspace_id": "acme", "limits": {"requests_per_minute": 60}}
        )
        await stage.seen(40)
        batch = await stage.create_batch("research", 5000)
        browser = await playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        request = (await stage.seen(5, "&status=failed"))[0]["request_id"]
        pages = {
            "now": "/",
            "request": f"/r/{request}",
            "errors": "/errors",
            "spend": "/spend",
            "batches": "/batches",
            "batch": f"/batches/{batch}",
            "fleet": "/fleet",
            "keys": "/keys",
        }
        for scheme in SCHEMES:
            for width in WIDTHS:
                await photograph(browser, stage, pages, width, scheme, folder)
        await browser.close()


async def photograph(
    browser: Browser, stage: Stage, pages: dict[str, str], width: int, scheme: str, folder: Path
) -> None:
    context = await browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = await context.new_page()
    await page.goto(stage.admin_url)
    await page.get_by_label("Admin key").fill(ADMIN_KEY)
    await page.screenshot(path=folder / f"signin-{width}-{scheme}.png")
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("navigation", name="Pages").wait_for()
    for name, path in pages.items():
        await page.goto(stage.admin_url + path)
        await page.locator("main h1").first.wait_for(state="attached")
        await page.wait_for_timeout(300)
        await page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
    await context.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "console-pictures")))
