"""A browser without a window, and the live page in it."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright
from tests.unit.gateway.http.conftest import serving
from tests.unit.gateway.http.live_double import Page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
SHOTS = os.environ.get("PAGE_SCREENSHOTS")
"""A folder for pictures to look at; without it none are kept."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    """One for all tests of a file, which share its loop; each has windows of its own."""
    if BROWSER is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    async with async_playwright() as playing:
        # No sandbox of its own: in a container root has none to give.
        started = await playing.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        await started.close()


class Tab:
    """One open page, and everything it complained about."""

    def __init__(self, shown, complaints):
        self.shown, self.complaints = shown, complaints

    async def text(self, selector):
        return " ".join((await self.shown.inner_text(selector)).split())

    async def shot(self, name):
        if SHOTS:
            await self.shown.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


@contextlib.asynccontextmanager
async def watching(browser, data=None, *, state="live", key=None, served=None, **look):
    """Open the page on a gateway that sends `data`; `served` are options of the gateway."""
    page = data if isinstance(data, Page) else Page(data)
    async with serving(page=page, **(served or {})) as api:
        look = {"viewport": {"width": 1440, "height": 900}, **look}
        context = await browser.new_context(**look)
        shown = await context.new_page()
        complaints = _complaints(shown, api.address)
        if key is not None:
            held = json.dumps(key(api))
            await context.add_init_script(f"sessionStorage.setItem('llmrouter.key', {held})")
        await shown.goto(f"http://{api.address}/")
        await shown.wait_for_selector(f"#state[data-state={state}]")
        yield api, Tab(shown, complaints)
        await context.close()


def _complaints(shown, home):
    """Gather errors of scripts, of the policy, and every request that leads elsewhere."""
    found = []

    def said(message):
        if message.type == "error":
            found.append(message.text)

    def sent(request):
        if home not in request.url:
            found.append(request.url)

    shown.on("console", said)
    shown.on("pageerror", lambda error: found.append(str(error)))
    shown.on("request", sent)
    return found
