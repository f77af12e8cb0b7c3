"""The page in a real browser: a headless Chromium, driven through the keyboard and watched."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.broker import free_port, wait_until
from support.page import TOKEN, Stage, chromium, get, status

from edge.events.event import Budget
from edge.page.settings import PageSettings

pytestmark = pytest.mark.browser

PATIENCE_MS = 15_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


class Watched:
    """A tab whose every complaint and request is noted."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self._note(m.type, m.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.context.on("request", lambda request: self.requests.append(request.url))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def wait(self, expression: str, **options: Any) -> None:
        self.page.wait_for_function(expression, **options)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    (tmp_path / "media").mkdir()
    with Stage(tmp_path, PageSettings(port=0, media=tmp_path / "media")) as running:
        yield running


def test_the_page_shows_cameras_pictures_scores_and_live_events(browser: Any, stage: Stage) -> None:
    with Watched(browser) as tab:
        page = tab.page
        page.goto(stage.url)
        page.get_by_text("2 of 2 cameras live, no event open").wait_for()
        assert tab.text("#no-events") == "Nothing unusual so far."
        assert page.title() == "gate-01 · vigil"

        stage.play("yard", 1.0, 1.5)
        picture = page.locator(".camera", has_text="yard").locator("img.picture")
        picture.wait_for()
        assert picture.evaluate("image => image.naturalWidth") == 60
        tab.wait("() => document.querySelector('.camera .now').textContent === '1.5'")

        # An event: it is there without a reload, with its picture, and said to a screen reader.
        stage.play("yard", 1.0, 5.0, 5.0, 5.0)
        item = page.locator("#events li")
        item.wait_for()
        assert "Open" in item.inner_text()
        assert "moves unlike anything seen here" in item.inner_text()
        page.wait_for_function("() => document.querySelector('.thumb img').naturalWidth === 60")
        assert "New event on camera yard" in page.locator("#news").text_content()
        page.get_by_text("1 event open").wait_for()
        assert page.title() == "(1 open) gate-01 · vigil"
        card = page.locator(".camera", has_text="yard")
        assert "Event open for" in card.inner_text()
        page.locator(
            "svg[aria-label^='Score of yard in the last 2 minutes: highest 5.0, threshold 3.0']"
        ).wait_for()

        stage.play("yard", *[1.0] * 40)
        page.get_by_text("no event open").wait_for()
        assert "Ended" in item.inner_text()
        assert tab.complaints == []
        assert {url.startswith(stage.url + "/") for url in tab.requests} == {True}


def test_states_are_told_in_words(browser: Any, stage: Stage) -> None:
    with Watched(browser) as tab:
        tab.page.goto(stage.url)
        tab.page.get_by_text("2 of 2 cameras live").wait_for()
        stage.observer.camera_changed(status("door", "lost", reason="no_frames"))
        card = tab.page.locator(".camera", has_text="door")
        card.get_by_text("Lost", exact=True).wait_for()
        assert "pictures have stopped" in card.inner_text()
        assert "Camera door: Lost" in tab.page.locator("#news").text_content()
        stage.observer.camera_changed(status("door", "frozen", reason="picture_unchanged"))
        card.get_by_text("Picture frozen").wait_for()
        stage.observer.camera_changed(status("door", "live", flags=("dark",)))
        card.get_by_text("too dark to see").wait_for()
        stage.observer.camera_changed(status("door", "backoff", reason="<b>&odd\u202e"))
        card.get_by_text("<b>&odd").wait_for()  # text, never markup
        assert tab.complaints == []


def test_each_camera_is_measured_by_its_own_threshold(browser: Any, stage: Stage) -> None:
    with Watched(browser) as tab:
        tab.page.goto(stage.url)
        tab.page.get_by_text("2 of 2 cameras live").wait_for()
        learned = Budget(per_week=7.0, proven_per_week=45.0, provisional=True)
        stage.observer.camera_changed(status("door", threshold=7.5, budget=learned))
        tab.page.get_by_text("threshold 7.5").wait_for()
        stage.play("yard", 1.0, 2.0)
        stage.play("door", 1.0, 6.0)
        door = tab.page.locator(".camera", has_text="door")
        yard = tab.page.locator(".camera", has_text="yard")
        tab.page.locator(
            "svg[aria-label*='Score of door'][aria-label*='never above it']"
        ).wait_for()
        door.locator("svg[aria-label*='threshold 7.5']").wait_for()
        yard.locator("svg[aria-label*='threshold 3.0']").wait_for()
        assert "threshold 3.0" in yard.inner_text()
        assert "where a camera has not learned its own" in tab.text(".model")
        assert door.locator(".promise").inner_text() == (
            "Threshold learned here: provisional: proven at most 45.0 false alarms a week, "
            "wanted 7.0."
        )
        assert not yard.locator(".promise").is_visible()
        tab.page.reload()  # from the snapshot as from the news
        tab.page.get_by_text("threshold 7.5").wait_for()
        proven = Budget(per_week=7.0, proven_per_week=6.0, provisional=False)
        stage.observer.camera_changed(status("yard", threshold=4.0, budget=proven))
        yard.get_by_text("at most 7.0 false alarms a week").wait_for()
        # Nobody goes by the bundle's any more, so nobody is told what it would promise.
        assert "false alarms" not in tab.text(".model")
        assert tab.complaints == []


def test_cameras_come_and_go_with_the_configuration(browser: Any, stage: Stage) -> None:
    with Watched(browser) as tab:
        tab.page.goto(stage.url)
        tab.page.get_by_text("2 of 2 cameras live").wait_for()
        stage.play("door", 1.0, 2.0)
        stage.observer.regrouped([status("yard"), status("porch", "connecting")])
        tab.page.get_by_text("1 of 2 cameras live").wait_for()
        tab.wait("() => document.querySelectorAll('.camera').length === 2")
        names = tab.page.locator(".camera .name").all_inner_texts()
        assert names == ["yard", "porch"]
        tab.page.reload()
        tab.page.get_by_text("1 of 2 cameras live").wait_for()
        assert tab.page.locator(".camera .name").all_inner_texts() == ["yard", "porch"]
        assert get(stage.port, "/api/v1/cameras/door/picture.jpg").status == 404
        assert tab.complaints == []


def test_everything_can_be_done_with_the_keyboard(browser: Any, stage: Stage) -> None:
    first, second = stage.event("yard"), stage.event("door")
    with Watched(browser) as tab:
        page = tab.page
        page.goto(stage.url)
        page.locator("#events li").nth(1).wait_for()
        page.keyboard.press("Tab")
        assert focused(page) == "Skip to events"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "events-heading"
        page.keyboard.press("Tab")
        assert focused_id(page) == second
        page.keyboard.press("ArrowDown")
        assert focused_id(page) == first
        page.keyboard.press("ArrowDown")
        assert focused_id(page) == first  # the last one
        page.keyboard.press("Home")
        assert focused_id(page) == second

        page.keyboard.press("Enter")
        dialog = page.locator("dialog[open]")
        dialog.wait_for()
        assert page.evaluate("document.activeElement.id") == "detail-title"
        assert "door" in tab.text("#detail-title")
        view = dialog.locator("img.picture")
        view.wait_for()
        assert view.evaluate("image => image.naturalWidth") == 60
        assert "moves unlike anything seen here" in view.get_attribute("alt")
        assert "it fell quiet" in tab.text("#facts")
        page.keyboard.press("ArrowRight")
        tab.wait("() => document.querySelector('#detail-title').textContent.includes('yard')")
        page.keyboard.press("Escape")
        page.locator("dialog:not([open])").wait_for(state="attached")
        assert focused_id(page) == first  # back to where the large view had come to

        page.locator("#heat").focus()
        page.keyboard.press("Space")
        assert page.locator("#heat").get_attribute("aria-pressed") == "false"
        assert page.evaluate("document.body.classList.contains('no-heat')")
        page.reload()
        page.locator("#heat[aria-pressed=false]").wait_for()  # it is remembered
        assert tab.complaints == []


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.textContent.trim()"))


def focused_id(page: Any) -> str:
    return str(page.evaluate("document.activeElement.closest('li')?.dataset.id"))


def test_the_focus_is_seen_and_headings_and_names_are_there(browser: Any, stage: Stage) -> None:
    stage.event("yard")
    with Watched(browser) as tab:
        page = tab.page
        page.goto(stage.url)
        page.locator("#events li").wait_for()
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert outline == "3px"
        unnamed = page.evaluate(
            "() => [...document.querySelectorAll('button, img, a, input, section')].filter(node =>"
            " !(node.textContent.trim() || node.getAttribute('aria-labelledby')"
            " || node.hasAttribute('alt'))).length"
        )
        assert unnamed == 0
        names = [node.inner_text() for node in page.get_by_role("heading").all()]
        assert names[:4] == ["gate-01", "Cameras", "yard", "door"]
        assert page.evaluate("document.documentElement.lang") == "en"


def test_it_comes_back_by_itself_after_the_daemon_restarts(browser: Any, tmp_path: Path) -> None:
    port = free_port()
    settings = PageSettings(port=port)
    with Watched(browser) as tab:
        with Stage(tmp_path, settings) as before:
            before.event("yard")
            tab.page.goto(before.url)
            tab.page.locator("#events li").wait_for()
        trouble = tab.page.locator("#trouble")
        trouble.wait_for()
        assert "No connection to gate-01 since" in trouble.inner_text()
        assert tab.text("#summary") == "Not connected"
        with Stage(tmp_path, settings) as after:
            trouble.wait_for(state="hidden")
            assert tab.page.locator("#events li").count() == 1  # from the journal
            after.event("door")
            tab.wait("() => document.querySelectorAll('#events li').length === 2")
            assert "2 of 2 cameras live" in tab.text("#summary")
        # What the browser itself says about refused connections is the only complaint.
        assert all("ERR_" in complaint for complaint in tab.complaints), tab.complaints


SLOW_FETCH = """
const real = window.fetch;
window.asked = 0;
window.fetch = (...all) => new Promise((done) => {
  setTimeout(() => { window.asked += 1; done(real(...all)); }, 6000);
});
"""


def test_a_late_word_on_a_lost_connection_does_not_undo_the_new_one(
    browser: Any, stage: Stage
) -> None:
    with Watched(browser) as tab:
        tab.page.add_init_script(SLOW_FETCH)  # the question why it was lost takes its time
        tab.page.goto(stage.url)
        tab.page.get_by_text("2 of 2 cameras live").wait_for()
        process = stage.observer._pump._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        tab.wait("() => window.asked > 0")
        tab.page.get_by_text("2 of 2 cameras live").wait_for()
        stage.event("door")
        tab.page.locator("#events li").wait_for()
        tab.page.wait_for_timeout(500)
        assert "2 of 2 cameras live" in tab.text("#summary")
        assert not tab.page.locator("#trouble").is_visible()


def test_a_daemon_that_does_not_look_any_more_is_told(
    browser: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.page.pump.HUNG_S", 0.5)
    with Watched(browser) as tab:
        tab.page.goto(stage.url)
        tab.page.get_by_text("The device has stopped looking at pictures").wait_for()
        wait_until(lambda: get(stage.port, "/readyz").status == 503)


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_dark_and_light_are_legible(browser: Any, stage: Stage, scheme: str) -> None:
    stage.play("yard", 1.0, 5.0, 5.0, 5.0)
    with Watched(browser, color_scheme=scheme) as tab:
        page = tab.page
        page.goto(stage.url)
        page.locator("#events li").wait_for()
        ground = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert (ground < 0.1) == (scheme == "dark")
        for selector in (
            "#device",
            "#summary",
            ".word",
            ".alarm",
            ".phase",
            ".event .why",
            ".figures",
            ".threshold",
            ".model",
            "#heat",
        ):
            assert contrast(page, selector) >= 4.5, selector


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of an opaque CSS colour."""
    parts = [float(x) / 255 for x in re.findall(r"[\d.]+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(page: Any, selector: str) -> float:
    """Contrast of a text and what is behind it (WCAG 2.2)."""
    colours = page.locator(selector).first.evaluate(
        """node => {
          const text = getComputedStyle(node).color;
          while (getComputedStyle(node).backgroundColor === 'rgba(0, 0, 0, 0)')
            node = node.parentElement;
          return [text, getComputedStyle(node).backgroundColor];
        }"""
    )
    light, dark = sorted((luminance(colour) for colour in colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_nothing_is_cut_off_at_any_width(browser: Any, stage: Stage, width: int) -> None:
    stage.event("yard")
    with Watched(browser) as tab:
        tab.page.set_viewport_size({"width": width, "height": 800})
        tab.page.goto(stage.url)
        tab.page.locator("#events li").wait_for()
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_token_is_asked_for_once(browser: Any, tmp_path: Path) -> None:
    port = free_port()
    settings = PageSettings(port=port, token=TOKEN)
    with Watched(browser) as tab:
        page = tab.page
        with Stage(tmp_path, settings) as one:
            page.goto(one.url)
            page.get_by_label("Token of this device").wait_for()
            page.keyboard.type("not this one")
            page.keyboard.press("Enter")
            page.get_by_text("That is not the token.").wait_for()
            page.keyboard.type(TOKEN)
            page.keyboard.press("Enter")
            page.get_by_text("2 of 2 cameras live").wait_for()
            assert TOKEN not in page.evaluate("document.cookie + location.href")
        page.locator("#trouble").wait_for()
        with Stage(tmp_path, settings):  # the session outlives the daemon
            page.locator("#trouble").wait_for(state="hidden")
        assert all(TOKEN not in url for url in tab.requests)
