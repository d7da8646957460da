"""The console in a real browser: the questions it answers, and what clients' names can do to it.

Skipped without Chromium or Playwright. `make console` installs Playwright, and visits all pages in all sizes.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.console.browser import chromium
from tests.console.stage import ADMIN_KEY, HOSTILE, VIEW_KEY, Stage

playwright_api = pytest.importorskip("playwright.async_api", reason="Playwright is not installed: make console")
from tests.console.visit import Visit, visiting  # noqa: E402 - needs Playwright

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(chromium() is None, reason="there is no Chromium on PATH"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def visit(stage: Stage) -> AsyncIterator[Visit]:
    async with visiting(stage.admin_url, ADMIN_KEY) as ready:
        yield ready


async def test_five_questions_are_answered_in_two_clicks(stage: Stage, visit: Visit) -> None:
    batch = await stage.create_batch("acme", 2)
    page = visit.page
    await page.goto(stage.admin_url)
    await page.get_by_role("region", name="Problems").get_by_text("no worker runs").wait_for()
    await page.get_by_role("link", name="Errors").click()
    await page.get_by_role("table", name="Errors by cause").get_by_role("link", name="req_").first.click()
    await page.get_by_role("table", name="Attempts").get_by_text("openrouter").wait_for()
    await page.get_by_role("link", name="Spend", exact=True).click()
    await page.get_by_role("table", name="Spend by tenant").get_by_role("link", name="acme").wait_for()
    await page.get_by_role("link", name="Batches").click()
    await page.get_by_role("link", name=batch).click()
    await page.get_by_text("0 of 2", exact=True).wait_for()
    await page.get_by_role("link", name="Keys", exact=True).click()
    await page.get_by_role("table", name="Client keys").get_by_text("research", exact=True).wait_for()
    await stage.api("POST", f"/api/batches/{batch}/cancel", json={})
    assert visit.complaints == []


async def test_new_exchange_appears_without_a_reload(stage: Stage, visit: Visit) -> None:
    page = visit.page
    await page.goto(f"{stage.admin_url}/?model=sim/text-7")
    await page.get_by_text("live", exact=True).first.wait_for()
    await stage.ask("acme", model="sim/text-7")
    await page.get_by_role("table", name="Latest exchanges").get_by_text("sim/text-7").first.wait_for()


async def test_markup_in_names_stays_text_and_no_page_complains(stage: Stage, visit: Visit) -> None:
    await stage.ask("acme", model=HOSTILE)
    for path in (
        f"/?model={HOSTILE}",
        "/errors?error=%3Cb%3E",
        "/spend?by=model",
        f"/batches?tenant={HOSTILE}",
        "/fleet",
        "/r/%3Cb%3E",
    ):
        await visit.show(path)
    await visit.show("/spend?by=model")
    await visit.page.get_by_text(HOSTILE).first.wait_for()
    assert await visit.page.locator("img").count() == 0
    assert visit.complaints == []
    assert visit.foreign == []


async def test_batch_is_cancelled_after_a_question(stage: Stage, visit: Visit) -> None:
    batch = await stage.create_batch("research", 2)
    await visit.show(f"/batches/{batch}")
    await visit.page.get_by_role("button", name="Cancel…").click()
    await visit.page.get_by_role("button", name="Keep it").click()
    assert (await stage.api("GET", f"/api/batches/{batch}"))[1]["status"] == "in_progress"
    await visit.page.get_by_role("button", name="Cancel…").click()
    await visit.page.get_by_role("button", name="Cancel the batch").click()
    await visit.page.get_by_text("ended", exact=True).first.wait_for()
    assert (await stage.api("GET", f"/api/batches/{batch}"))[1]["counts"]["canceled"] == 2


async def test_key_is_made_shown_once_and_disabled(stage: Stage, visit: Visit) -> None:
    await visit.show("/keys")
    page = visit.page
    await page.get_by_label("Name").fill("from-the-console")
    await page.get_by_role("button", name="Make").click()
    key = await page.locator("pre.secret").text_content()
    assert key is not None
    async with stage.session.get(f"{stage.url}/v1/models", headers={"x-api-key": key}) as response:
        assert response.status == 200
    await page.get_by_role("button", name="Disable from-the-console").click()
    await page.get_by_role("button", name="Disable", exact=True).click()
    await page.get_by_role("button", name="Enable").wait_for()
    await visit.show("/keys")
    assert key not in await page.content()


async def test_keyboard_walks_through_a_list_and_shows_the_keys(visit: Visit) -> None:
    await visit.show("/")
    page = visit.page
    await page.locator("tbody tr a.row").first.wait_for()
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    assert await page.evaluate("[...document.querySelectorAll('a.row')].indexOf(document.activeElement)") == 1
    await page.keyboard.press("?")
    await page.get_by_role("dialog", name="Keys").wait_for()
    await page.keyboard.press("Escape")
    assert await page.get_by_role("dialog").count() == 0


async def test_long_list_is_shown_in_parts_and_searched(visit: Visit) -> None:
    keys = [{"id": f"key_{place}", "tenant": "acme", "status": "active", "source": "made"} for place in range(3000)]
    page, reply = visit.page, {"data": keys, "auth": "keys", "can_make": True}
    await page.route("**/api/keys", lambda route: route.fulfill(json=reply))
    try:
        await visit.show("/keys")
        await page.get_by_text("50 of 3,000", exact=True).wait_for()
        await page.get_by_role("button", name="Show more").click()
        await page.get_by_text("100 of 3,000", exact=True).wait_for()
        assert await page.locator("tbody tr").count() == 100
        await page.get_by_label("Find").fill("KEY_2999")
        await page.get_by_text("1 of 1", exact=True).wait_for()
        assert await page.locator("tbody tr td:nth-child(2)").all_text_contents() == ["key_2999"]
    finally:
        await page.unroute("**/api/keys")


async def test_viewer_sees_no_button_that_changes_anything(stage: Stage) -> None:
    batch = await stage.create_batch("research", 2)
    async with visiting(stage.admin_url, VIEW_KEY) as viewer:
        await viewer.show(f"/batches/{batch}")
        assert await viewer.page.get_by_role("button", name="Cancel").count() == 0
        await viewer.show("/keys")
        assert await viewer.page.get_by_role("button", name="Make").count() == 0
        assert viewer.complaints == []
    await stage.api("POST", f"/api/batches/{batch}/cancel", json={})
