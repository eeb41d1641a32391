"""The live page in a real browser: what an operator sees, and can reach by keys alone."""

import asyncio

import pytest
from tests.integration.page.conftest import watching
from tests.support.live_frames import empty, quiet, stormy
from tests.unit.gateway.http.live_double import Page

from llmrouter.gateway.identity.principal import Scope
from llmrouter.gateway.live.recent import CALLERS

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_bad_day_says_what_fails_and_what_is_done_about_it(browser):
    async with watching(browser, stormy()) as (_, tab):
        await tab.shot("stormy-light")
        troubles = await tab.text("#troubles")
        for fact in ("Failing now", "10.0.0.11:50054 failed 5 times in a row",
                     "other models get its requests; asked again in 12 s",
                     "was rolled back", "31 requests wait for a slot"):  # fmt: skip
            assert fact in troubles, fact
        models = await tab.text("#models")
        assert "9 failed" in models
        names = await tab.shown.get_by_role("img", name="10.0.0.11:50054 left alone").count()
        assert names == 1
        assert "rolled back" in await tab.text("#rollouts")
        assert (await tab.shown.title()).startswith("(6) ")
    assert tab.complaints == []


async def test_a_request_that_nobody_answered_says_who_was_to_and_leads_to_the_choice(browser):
    async with watching(browser, stormy()) as (_, tab):
        row = tab.shown.locator("#requests tr", has_text="upstream unavailable").first
        told = " ".join((await row.inner_text()).split())
        assert "nobody for large upstream unavailable was asked for" in told
        await row.click()
        # The double remembers another choice alone: what counts is that this one was asked for.
        await tab.shown.wait_for_selector("#detail:has-text('no choice plan-0')")
        detail = await tab.text("#detail")
        assert "Answered by nobody Asked for large" in detail


async def test_of_a_request_without_a_plan_refused_is_said_only_of_what_was_refused(browser):
    seen = quiet()
    outcomes = {"RATE_LIMITED": "was refused", "CANCELLED": "ended", "DEADLINE_EXCEEDED": "ended"}
    [row, *_] = [one for one in seen["requests"] if one["outcome"] == "RATE_LIMITED"]
    seen["requests"] = [
        {**row, "id": name, "outcome": name, "refused": name in CALLERS} for name in outcomes
    ]
    async with watching(browser, seen) as (_, tab):
        for name, end in outcomes.items():
            said = name.replace("_", " ").lower()
            await tab.shown.locator("#requests tr", has_text=said).first.click()
            assert f"It {end} before a choice was made." in await tab.text("#detail")
            await tab.shown.keyboard.press("Escape")


async def test_a_quiet_day_shows_requests_models_engines_cache_cost_and_rollouts(browser):
    async with watching(browser, quiet(), color_scheme="dark") as (_, tab):
        await tab.shot("quiet-dark")
        assert await tab.text("#troubles-name") == "Nothing is failing"
        for place, fact in (
            ("#tiles", "From cache"), ("#tiles", "/h"), ("#models", "0.790"),
            ("#engines", "412 tokens/s"), ("#nodes", "enough"), ("#levels", "9,120 answers"),
            ("#saved", "61,120 tokens, $0.31"), ("#costs-tenant", "acme"),
            ("#rollouts", "at 30 %, stage 2 of 4"),
            ("#limits", "dollars per month, tenant acme"), ("#requests", "rate limited"),
            ("#requests", "cached"), ("#choices", "balanced"),
        ):  # fmt: skip
            assert fact in await tab.text(place), (place, fact)
        shown = await tab.shown.evaluate("getComputedStyle(document.body).backgroundColor")
        assert shown == "rgb(13, 16, 21)"
    assert tab.complaints == []


async def test_by_keys_alone_a_request_is_found_opened_and_explained(browser):
    async with watching(browser, quiet()) as (_, tab):
        press = tab.shown.keyboard.press
        await press("j")
        await press("j")
        await press("k")
        focused = "document.activeElement === document.querySelector('#requests tr')"
        assert await tab.shown.evaluate(focused)
        await press("/")
        await tab.shown.keyboard.type("plan-0001")
        await press("Tab")
        assert await tab.shown.locator("#choices tr:not(.none)").count() == 1
        await tab.shown.evaluate("document.activeElement.blur()")
        await press("j")
        await press("Enter")
        await tab.shown.wait_for_selector("#detail .candidates")
        await tab.shot("detail-light")
        told = await tab.text("#detail")
        for fact in (
            "has the best score of 3",
            "upstream unavailable",
            "first token after 610 ms",
            "62 ms to the first token, 214 tokens/s",
            "it makes vectors and cannot chat",
        ):
            assert fact in told, fact
        await press("Escape")
        assert not await tab.shown.locator("#detail").is_visible()
        await press("?")
        assert "next, previous request" in await tab.text("#help")
    assert tab.complaints == []


async def test_the_theme_switch_goes_round_and_is_remembered(browser):
    async with watching(browser, empty()) as (_, tab):
        await tab.shot("empty-light")
        assert "llmrouter generate" in await tab.text("#requests")
        theme = "document.documentElement.dataset.theme"
        seen = []
        for _ in range(3):
            await tab.shown.keyboard.press("t")
            seen.append(await tab.shown.evaluate(theme))
        assert seen == ["dark", "light", None]
        await tab.shown.click("#theme")
        await tab.shown.reload()
        assert await tab.shown.evaluate(theme) == "dark"
    assert tab.complaints == []


async def test_on_a_narrow_screen_nothing_is_cut_off_sideways(browser):
    narrow = {"viewport": {"width": 390, "height": 844}}
    async with watching(browser, stormy(), **narrow) as (_, tab):
        await tab.shot("stormy-narrow")
        wide = "document.documentElement.scrollWidth > innerWidth"
        assert not await tab.shown.evaluate(wide)
    assert tab.complaints == []


async def test_where_a_key_is_needed_the_page_asks_for_it_and_keeps_it_in_the_tab_alone(browser):
    options = {"served": {"anonymous": "never"}, "state": "lost"}
    async with watching(browser, quiet(), **options) as (api, tab):
        await tab.shown.wait_for_selector("#door[open]")
        await tab.shot("door-light")
        await tab.shown.fill("#key", api.keys.new())
        await tab.shown.keyboard.press("Enter")
        await tab.shown.wait_for_selector("#door-why:has-text('observe')")
        await tab.shown.fill("#key", api.keys.new(scopes=frozenset({Scope.OBSERVE})))
        await tab.shown.keyboard.press("Enter")
        await tab.shown.wait_for_selector("#state[data-state=live]")
        assert await tab.shown.evaluate("Object.keys(localStorage).length") == 0
        assert await tab.shown.evaluate("document.cookie") == ""
        await tab.shown.click("#forget")
        await tab.shown.wait_for_selector("#door[open]")


async def test_a_gateway_that_goes_is_told_and_found_again(browser):
    page = Page(quiet())
    async with watching(browser, page) as (_, tab):
        page.feed.stop()
        await tab.shown.wait_for_selector("#state[data-state=lost]")
        page.feed._stopped = False
        page.feed._gathering = None
        await tab.shown.wait_for_selector("#state[data-state=live]")


async def test_a_paused_page_stands_still_and_goes_on(browser):
    page = Page(quiet())
    async with watching(browser, page) as (_, tab):
        await tab.shown.keyboard.press("p")
        page.frame = stormy()
        before = page.gathered
        while page.gathered < before + 5:  # noqa: ASYNC110 - all it tells
            await asyncio.sleep(0.01)
        assert await tab.text("#troubles-name") == "Nothing is failing"
        await tab.shown.keyboard.press("p")
        await tab.shown.wait_for_selector("#troubles[data-level=bad]")


@pytest.mark.parametrize("hostile", ["<img src=x onerror=alert(1)>", "</script><script>alert(1)"])
async def test_names_are_text_whatever_they_hold(browser, hostile):
    frame = quiet()
    frame["models"][0]["name"] = hostile
    frame["requests"][0]["reason"] = hostile
    async with watching(browser, frame) as (_, tab):
        assert hostile in await tab.shown.inner_text("#models")
        assert await tab.shown.locator("#models img, #requests img, main script").count() == 0
    assert tab.complaints == []
