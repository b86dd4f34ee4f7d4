"""The pages in a real browser: headless Chromium, without a network.

`make test-browser` runs them, and fails where there is no Chromium; the whole suite leaves them to it.
"""

import base64
import contextlib
import io
import json
import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from moga_st.data.pose.skeleton import JOINTS
from moga_st.draw.pose import LiftedClip
from moga_st.draw.video import PredictedClip
from moga_st.report.compare import add_pareto
from moga_st.report.made import lift_page, prediction_page
from moga_st.report.media import Person, add_clips, add_lifted, add_stages, stage
from moga_st.report.page import Page
from moga_st.report.pages import add_scores
from moga_st.report.results import read_run
from moga_st.report.serve import follow
from moga_st.report.write import page_of
from moga_st.scores import Score, Scores
from tests.report.bodies import motion, walking
from tests.report.test_page import HOSTILE

if not os.environ.get("MOGA_ST_BROWSER"):
    pytest.skip("`make test-browser` runs these, with Chromium", allow_module_level=True)
from tests.report.browse import PATIENCE_MS, chromium  # here alone must playwright be installed

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def show(browser, tmp_path):
    """Opens a page; afterwards nothing must have been said on the console, and nothing asked of any network."""
    said, asked, served = [], [], []
    stopped = "net::ERR_CONNECTION_REFUSED"  # what Chromium says once the server of a served page is gone
    with contextlib.ExitStack() as stack:

        def show(page, viewport=WIDE, **context):
            made = browser.new_context(viewport=viewport, offline=isinstance(page, Page), **context)
            made.set_default_timeout(PATIENCE_MS)
            stack.callback(made.close)
            tab = made.new_page()
            tab.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
            tab.on("pageerror", lambda error: said.append(f"error: {error}"))
            tab.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
            tab.on("request", lambda request: asked.append(request.url))
            if isinstance(page, str):
                served.append(page)
                tab.goto(page)
            else:
                tab.goto(page.save(tmp_path / f"{len(asked)}.html").as_uri())
            tab.wait_for_selector("footer")
            return tab

        yield show
    assert [line for line in said if not (served and stopped in line)] == []
    assert [url for url in asked if not url.startswith(("file://", "data:", "blob:", "http://127.0.0.1:"))] == []


def a_pose(show) -> tuple:
    """A page of one lifted pose, and its 3D view."""
    page = Page("poses")
    add_lifted(page, "Poses", [LiftedClip("best", "a pose", *walking())])
    tab = show(page)
    tab.wait_for_selector("[data-ready]")
    return tab, tab.locator("canvas.space")


def pixels(locator) -> np.ndarray:
    """What a person sees of an element: (h, w, 3)."""
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB")).astype(int)


def drawn(tab, selector: str) -> np.ndarray:
    """What was drawn on a canvas, at its own size: (h, w, 3)."""
    url = tab.evaluate(f"document.querySelector('{selector}').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


def until(tab, expression: str, seconds: float = 120.0) -> None:
    """Wait for what an expression says.  (Playwright's own way evaluates strings in the page, which its policy
    forbids.)"""
    end = time.monotonic() + seconds
    while not tab.evaluate(expression):
        assert time.monotonic() < end, expression
        tab.wait_for_timeout(50)


def plots(tab) -> list:
    """The data of every chart."""
    until(tab, "[...document.querySelectorAll('.plot')].every((p) => p.plot)")
    return tab.evaluate("[...document.querySelectorAll('.plot')].map((p) => p.plot.data.map((c) => [...c]))")


def clip(name="best", title="best of 9", size=24) -> PredictedClip:
    frames = np.zeros((8, 1, size, size), np.float32)
    for i, frame in enumerate(frames):
        frame[0, 2 + i : 9 + i, 3 + i : 12 + i] = (40 + 25 * i) / 255
    return PredictedClip(name, title, frames[:4], frames[4:] * 0.5, frames[4:])


def long_log(runs, count=200):
    """The first run with a log of so many lines; the losses."""
    _, first, _ = runs
    losses = (1 / np.arange(1, count + 1)).tolist()
    lines = [{"step": 5 * i, "seconds": 2.0 * i, "loss": loss, "lr": 0.1} for i, loss in enumerate(losses, 1)]
    (first / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return first, losses


def test_curves_have_their_points_and_can_be_read_zoomed_and_smoothed(show, runs):
    first, losses = long_log(runs)
    tab = show(page_of([first], examples="none"))
    steps, values = plots(tab)[0]
    np.testing.assert_array_equal(steps, np.arange(5, 1001, 5))
    np.testing.assert_allclose(values, losses)
    figure = tab.locator("figure").first
    over = figure.locator(".u-over")
    over.hover(position={"x": 200, "y": 60})
    read = float(figure.locator(".u-series").nth(1).locator(".u-value").inner_text())
    assert min(abs(read - v) for v in losses) <= 5.1e-5  # four places are shown
    bounds = "(() => { const s = document.querySelector('.plot').plot.scales.x; return [s.min, s.max]; })()"
    whole, box = tab.evaluate(bounds), over.bounding_box()
    tab.mouse.move(box["x"] + 50, box["y"] + 50)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 150, box["y"] + 60, steps=4)
    tab.mouse.up()
    low, high = tab.evaluate(bounds)
    assert whole[0] < low < high < whole[1]
    tab.get_by_role("button", name="Whole range").click()
    assert tab.evaluate(bounds) == whole
    tab.get_by_label("Smoothing").fill("0.9")
    _, raw, smooth = plots(tab)[0]
    np.testing.assert_allclose(raw, losses)
    total = norm = 0.0
    for value, found in zip(losses, smooth, strict=True):
        total, norm = 0.9 * total + 0.1 * value, 0.9 * norm + 0.1
        assert found == pytest.approx(total / norm)
    tab.get_by_role("button", name="log y").click()
    assert tab.evaluate("document.querySelector('.plot').plot.scales.y.distr") == 3
    tab.locator("select").first.select_option("time")
    np.testing.assert_allclose(plots(tab)[0][0], np.arange(1, 201) * 2.0 / 60)


def test_play_moves_the_frames_and_each_shows_its_own_values(show):
    page = Page("clips")
    add_clips(page, "Examples", [clip(), clip("worst", "worst of 9")])
    tab = show(page)
    tab.wait_for_selector("[data-ready]")
    slider = tab.get_by_label("Frame", exact=True)
    made = clip()
    assert made.truth is not None
    frames = np.concatenate([made.past, made.truth])
    for i in (0, 3, 4, 7):
        slider.fill(str(i))
        shown = drawn(tab, "[data-row=truth] canvas")
        np.testing.assert_array_equal(shown, np.repeat(np.round(frames[i, 0] * 255)[..., None], 3, -1))
    assert slider.get_attribute("aria-valuetext") == "frame 8 of 8, predicted 4 ahead"
    slider.fill("0")
    tab.wait_for_timeout(400)
    assert slider.input_value() == "0"  # nothing moves by itself
    tab.get_by_role("button", name="Play").click()
    until(tab, "Number(document.querySelector('input[type=range]').value) >= 2")
    tab.get_by_role("button", name="Pause").click()
    slider.fill("5")
    tab.locator("h1").click()
    tab.keyboard.press("ArrowRight")
    assert slider.input_value() == "6"
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("ArrowLeft")
    assert slider.input_value() == "4"
    tab.keyboard.press(" ")
    until(tab, "document.querySelector('input[type=range]').value !== '4'")
    tab.keyboard.press(" ")
    tab.get_by_role("tab", name="worst").click()
    tab.wait_for_selector("[data-ready='2']")
    assert tab.locator("h3").inner_text() == "worst of 9"


def test_a_clip_without_a_truth_says_nothing_of_errors(show):
    page = Page("clips")
    add_clips(page, "Examples", [replace(clip(), truth=None)])
    tab = show(page)
    tab.wait_for_selector("[data-ready]")
    assert "Error" not in tab.locator("section").inner_text()
    assert "null" not in tab.locator("section").inner_text()


def test_a_view_can_be_saved_as_a_picture(show):
    page = Page("clips")
    add_clips(page, "Examples", [clip()])
    add_lifted(page, "Poses", [LiftedClip("best", "a pose", *walking())])
    tab = show(page)
    tab.wait_for_selector("section:nth-of-type(2)[data-ready]")
    for i, least in ((0, 3 * 24), (1, 720)):
        with tab.expect_download() as waiting:
            tab.get_by_role("button", name="Save picture").nth(i).click()
        image = Image.open(waiting.value.path())
        assert image.format == "PNG"
        assert image.width > least
        assert len(np.unique(np.asarray(image.convert("L")))) > 4


def test_the_3d_view_is_not_blank_turns_when_dragged_and_follows_the_slider(show):
    tab, canvas = a_pose(show)
    canvas.scroll_into_view_if_needed()
    tab.wait_for_timeout(500)
    first = pixels(canvas)
    ground = first[14, 14]  # a corner, where nobody stands
    share = (np.abs(first - ground).max(-1) > 40).mean()
    assert 0.01 < share < 0.6
    person = (np.abs(first - ground).max(-1) > 60).any(1)  # no part of them is beyond the edge
    assert not person[:4].any()
    assert person[4:].any()
    orange = (first[..., 0] - first[..., 2] > 60).sum()
    blue = (first[..., 2] - first[..., 0] > 60).sum()
    assert min(orange, blue) > 100  # both sides are there
    box = canvas.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2 + 120, box["y"] + box["height"] / 2, steps=5)
    tab.mouse.up()
    tab.wait_for_timeout(500)
    turned = pixels(canvas)
    assert (np.abs(turned - first).max(-1) > 40).mean() > 0.01
    canvas.focus()
    for _ in range(4):
        tab.keyboard.press("Shift+ArrowRight")
    tab.wait_for_timeout(500)
    again = pixels(canvas)
    assert (np.abs(again - turned).max(-1) > 40).mean() > 0.01
    flat = pixels(tab.locator("canvas.flat"))
    tab.get_by_label("Frame", exact=True).fill("12")
    tab.wait_for_timeout(500)
    assert (np.abs(pixels(canvas) - again).max(-1) > 40).mean() > 0.003
    assert (np.abs(pixels(tab.locator("canvas.flat")) - flat).max(-1) > 40).mean() > 0.003


def test_several_people_share_one_time_and_invented_frames_and_contacts_are_marked(show):
    late = motion(person=2, first=10, aside=1.5)
    lost = motion(person=1, invented=slice(5, 8))
    frames = [np.full((90, 160, 3), 30 + 6 * i, np.uint8) for i in range(30)]
    tab = show(lift_page("two.mp4", [lost, late], frames, ["person 1: turned"], [("weights", "lifter")]))
    tab.wait_for_selector("[data-ready]")
    assert tab.get_by_text("person 1: turned").is_visible()
    slider, where = tab.get_by_label("Frame", exact=True), tab.locator(".where")
    assert slider.get_attribute("max") == "29"
    slider.fill("6")
    assert where.inner_text() == "0.24 s, frame 7 of 30, 1 of 2 people (not seen: invented)"
    slider.fill("20")
    assert where.inner_text() == "0.80 s, frame 21 of 30, 1 of 2 people"
    slider.fill("12")
    assert where.inner_text() == "0.48 s, frame 13 of 30, 2 of 2 people"
    for i in (0, 29):  # the video is on the same slider
        slider.fill(str(i))
        assert drawn(tab, "canvas.flat")[3, 3, 0] == pytest.approx(30 + 6 * i, abs=5)
    marks = drawn(tab, "canvas.marks")[4, 10::20].tolist()  # a colour a frame
    standing, lost, free = marks[2], marks[6], marks[25]
    assert standing == marks[15]  # the one who came later stands there
    assert len({tuple(standing), tuple(lost), tuple(free)}) == 3


def test_tables_sort(show):
    page = Page("table")
    rows = [{"cells": [n, v]} for n, v in (("b", 10.0), ("a", 9.5), ("c", None), ("d", 100.0))]
    page.add("table", "T", columns=[{"name": "name"}, {"name": "value"}], rows=rows)
    tab = show(page)
    names = lambda: tab.locator("tbody th").all_inner_texts()  # noqa: E731
    tab.get_by_role("button", name="value").click()
    assert names() == ["a", "b", "d", "c"]
    tab.get_by_role("button", name="value").click()
    assert names() == ["d", "b", "a", "c"]
    assert tab.locator("th[aria-sort=descending]").inner_text().startswith("value")
    tab.get_by_role("button", name="name").click()
    assert names() == ["a", "b", "c", "d"]


def test_a_served_page_follows_its_run(show, runs):
    first, _ = long_log(runs, 50)
    server = follow([first], lambda: page_of([first], examples="kept"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        tab = show(f"http://127.0.0.1:{server.server_address[1]}/")
        assert len(plots(tab)[0][0]) == 50
        tab.evaluate("document.querySelector('.plot').mark = true")
        tab.wait_for_timeout(600)
        with (first / "metrics.jsonl").open("a") as log:
            log.write('{"step": 255, "seconds": 102.0, "loss": 0.125, "lr": 0.1}\n')
        until(tab, "document.querySelector('.plot').plot.data[0].length === 51")
        assert plots(tab)[0][1][-1] == 0.125
        assert tab.evaluate("document.querySelector('.plot').mark")  # the chart itself stays
        assert tab.locator("dd").nth(1).inner_text().startswith("255 of 12")
    finally:
        server.shutdown()
        server.server_close()
    until(tab, "document.getElementById('live').textContent.includes('has stopped')")


def hostile_page() -> Page:
    page = prediction_page(clip(HOSTILE, HOSTILE), {HOSTILE: 1.0}, [(HOSTILE, HOSTILE)])
    add_stages(
        page, HOSTILE, [stage(page, HOSTILE, HOSTILE, 25.0, (90, 90), [Person(HOSTILE, 0, walking()[3])])], HOSTILE
    )
    cells = {"cells": [HOSTILE, HOSTILE], "group": HOSTILE}
    page.add("table", HOSTILE, columns=[{"name": HOSTILE}, {"name": HOSTILE}], rows=[cells, cells], warnings=[HOSTILE])
    series = [{"name": HOSTILE, "colour": 0, "x": page.array([1, 2]), "y": page.array([1, 2]), "t": None}]
    page.add("curves", HOSTILE, charts=[{"title": HOSTILE, "x": HOSTILE, "series": series}])
    page.add("lead", HOSTILE, x=HOSTILE, at=[1, 2], metrics={HOSTILE: {HOSTILE: [1.0, 2.0]}})
    axis = {
        "name": HOSTILE,
        "points": [{"name": HOSTILE, "group": "A", "x": 1, "y": 2, "front": True}],
        "groups": ["A"],
    }
    page.add("scatter", HOSTILE, y=HOSTILE, axes=[axis])
    page.add("body", HOSTILE, joints=[HOSTILE], bones=[], metrics={HOSTILE: {"model": {HOSTILE: 1.0}}})
    return page


def test_hostile_names_are_shown_and_run_nothing(show):
    tab = show(hostile_page())
    tab.wait_for_selector("section:nth-of-type(2)[data-ready]")
    plots(tab)
    assert tab.locator("img").count() == 0
    assert tab.locator("script").count() == 4  # the data, two libraries and our own
    assert tab.locator("h1").text_content() == HOSTILE


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(WIDE, "dark"), (PHONE, "light"), ({"width": 320, "height": 640}, "dark")]
)
def test_pages_fit_their_width_and_name_what_they_show(show, runs, viewport, scheme):
    _, first, _ = runs
    page = page_of([first])
    add_lifted(page, "Poses", [LiftedClip("best", "a pose", *walking())])
    scores = Score({"mpjpe": 1.0}, {k: {"mpjpe": dict.fromkeys(JOINTS, 12.345)} for k in ("joint", "action")})
    of_joints = Scores(scores, {f"a baseline of a long name {i}": scores for i in range(3)})
    add_scores(page, of_joints, {"conventions": {"mpjpe": "protocol #1, mm"}}, "test")
    add_pareto(
        page, [replace(read_run(first), name=f"result {i}", parameters=10**i) for i in (3, 5)], "AB", [0, 1], "mse"
    )
    columns = [{"name": f"a metric {i}"} for i in range(15)]
    page.add(
        "table", "Wide", columns=columns, rows=[{"cells": [f"result {k}", *range(14)], "best": [14]} for k in "ab"]
    )
    tab = show(page, viewport, color_scheme=scheme, reduced_motion="reduce")
    assert tab.get_by_text("mpjpe: protocol #1, mm").is_visible()  # beside the body
    assert not tab.locator("section[aria-label=Poses] canvas.marks").is_visible()  # there is nothing to mark
    tab.wait_for_selector("section[data-ready]")
    plots(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    unnamed = """[...document.querySelectorAll('canvas, svg, img, [role=img], button, input, select, [role=region]')]
        .filter((e) => !e.closest('.uplot') && e.getAttribute('aria-hidden') !== 'true' && !e.labels?.[0]?.textContent)
        .filter((e) => !(e.getAttribute('aria-label') || e.getAttribute('alt') || e.textContent.trim()))
        .map((e) => e.outerHTML.slice(0, 120))"""
    assert tab.evaluate(unnamed) == []


def test_what_was_turned_stays_so_when_colours_change(show):
    tab, canvas = a_pose(show)
    front = pixels(canvas)
    tab.get_by_role("button", name="Side").click()
    tab.wait_for_timeout(500)
    side = pixels(canvas)
    assert (np.abs(side - front).max(-1) > 40).mean() > 0.01
    for scheme in ("dark", "light"):
        tab.emulate_media(color_scheme=scheme)
        tab.wait_for_timeout(500)
    assert (np.abs(pixels(canvas) - side).max(-1) > 40).mean() < 0.001


def test_fingers_play_and_turn(show):
    page = Page("poses")
    add_lifted(page, "Poses", [LiftedClip("best", "a pose", *walking())])
    tab = show(page, PHONE, has_touch=True)
    tab.wait_for_selector("[data-ready]")
    tab.get_by_role("button", name="Play").tap()
    until(tab, "Number(document.querySelector('input[type=range]').value) >= 2")
    tab.get_by_role("button", name="Pause").tap()
    canvas = tab.locator("canvas.space")
    canvas.scroll_into_view_if_needed()
    tab.wait_for_timeout(500)
    first, box, fingers = pixels(canvas), canvas.bounding_box(), tab.context.new_cdp_session(tab)
    for i in range(6):
        at = {"x": box["x"] + box["width"] / 2 + 20 * i, "y": box["y"] + box["height"] / 2}
        fingers.send("Input.dispatchTouchEvent", {"type": "touchMove" if i else "touchStart", "touchPoints": [at]})
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    tab.wait_for_timeout(500)
    assert (np.abs(pixels(canvas) - first).max(-1) > 40).mean() > 0.01


def test_tabs_are_chosen_by_arrows(show):
    page = Page("clips")
    add_clips(page, "Examples", [clip(), clip("median", "median of 9"), clip("worst", "worst of 9")])
    tab = show(page)
    tab.wait_for_selector("[data-ready]")
    tab.get_by_role("tab", name="best").focus()
    for key, chosen in (("ArrowRight", "median"), ("End", "worst"), ("ArrowRight", "best"), ("ArrowLeft", "worst")):
        tab.keyboard.press(key)
        assert tab.locator("[role=tab][aria-selected=true]").inner_text() == chosen
        assert tab.evaluate("document.activeElement.textContent") == chosen
        until(tab, f"document.querySelector('h3').textContent.startsWith('{chosen}')")


def test_a_page_prints_on_white_without_its_controls(show, runs):
    _, first, _ = runs
    tab = show(page_of([first]), color_scheme="dark")
    plots(tab)
    assert tab.locator(".controls").first.is_visible()
    tab.emulate_media(media="print", color_scheme="dark")
    assert not tab.locator(".controls").first.is_visible()
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(tab.pdf()) > 20_000
    tab.set_viewport_size({"width": 700, "height": 1000})  # paper: what was drawn for a wider screen must fit too
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 700
