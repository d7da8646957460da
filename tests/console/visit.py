"""A signed-in visit to the console, which collects what the browser complains about."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page, async_playwright

from tests.console.browser import ARGUMENTS, chromium

WAIT_MS = 20_000


@dataclass(slots=True)
class Visit:
    """`complaints`: console messages, errors of scripts, dialogs. `foreign`: requests to other origins."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    async def show(self, path: str) -> None:
        """Open a page, and wait until its data is there."""
        await self.page.goto(self.url + path)
        await self.page.locator("main h1").first.wait_for(state="attached")

    def watch(self) -> None:
        page = self.page
        # A 404 of data that a page asked for is the browser's own message, and no fault of the page.
        page.on("console", lambda message: self._note(message.text) if "status of 404" not in message.text else None)
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("dialog", lambda dialog: self._note(dialog.message))
        page.on("request", lambda request: self._look(request.url))

    def _note(self, text: str) -> None:
        self.complaints.append(text)

    def _look(self, url: str) -> None:
        if urlsplit(url).scheme in ("http", "https") and not url.startswith(self.url):
            self.foreign.append(url)


@asynccontextmanager
async def visiting(url: str, key: str) -> AsyncIterator[Visit]:
    """A new browser, signed in with this key."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        async with signed_in(browser, url, key) as visit:
            yield visit
        await browser.close()


@asynccontextmanager
async def signed_in(
    browser: Browser, url: str, key: str, *, width: int = 1280, scheme: Literal["light", "dark"] = "light"
) -> AsyncIterator[Visit]:
    context = await browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    context.set_default_timeout(WAIT_MS)
    visit = Visit(await context.new_page(), url)
    visit.watch()
    await visit.page.goto(url)
    await visit.page.get_by_label("Admin key").fill(key)
    await visit.page.get_by_role("button", name="Sign in").click()
    await visit.page.get_by_role("navigation", name="Pages").wait_for()
    yield visit
    await context.close()
