"""The page as text: what it holds, what it may do, and that names from data stay text."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from moga_st.report.page import FRONT, SCRIPTS, Page

HOSTILE = "</script><img src=x onerror=alert(1)><!-- {{styles}} \u2028 'quoted\" & more"


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of each script and style."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.open = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.inside.append("")
        self.open = True

    def handle_endtag(self, tag):  # noqa: ARG002
        self.open = False

    def handle_data(self, data):
        if self.open:
            self.inside[-1] += data

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attrs, text) for (name, attrs), text in zip(self.found, self.inside, strict=True) if name == tag]


def hostile_page() -> Page:
    page = Page(HOSTILE, HOSTILE)
    page.add("facts", HOSTILE, groups=[{"title": HOSTILE, "rows": [[HOSTILE, HOSTILE]]}])
    page.add("tiles", "", tiles=[[HOSTILE, HOSTILE, HOSTILE]], warnings=[HOSTILE])
    return page


def test_hostile_names_stay_text():
    elements = Elements(hostile_page().html())
    assert not elements.of("img")
    assert [text for _, text in elements.of("title")] == [HOSTILE]
    data = next(text for attrs, text in elements.of("script") if attrs.get("id") == "data")
    document = json.loads(data)
    assert document["title"] == HOSTILE
    assert document["sections"][0]["groups"][0]["rows"] == [[HOSTILE, HOSTILE]]
    scripts = {tag for tag, _ in elements.found}
    assert scripts <= {"html", "head", "meta", "link", "title", "style", "body", "noscript", "main", "script"}


@pytest.mark.parametrize("watch", [False, True])
def test_the_policy_allows_the_pages_own_scripts_and_nothing_else(watch):
    page = hostile_page()
    page.add("curves", "", charts=[])
    page.add("people", "", stages=[])
    elements = Elements(page.html(watch))
    metas = [attrs for attrs, _ in elements.of("meta") if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert len(metas) == 1
    rules = dict(rule.split(" ", 1) for rule in str(metas[0]["content"]).split("; "))
    assert rules["default-src"] == "'none'"
    assert rules.get("connect-src", "'none'") == ("'self'" if watch else "'none'")
    assert "unsafe" not in str(metas[0]["content"])
    scripts = [text for attrs, text in elements.of("script") if attrs.get("type") != "application/json"]
    assert len(scripts) == 3
    for texts, rule in ((scripts, "script-src"), ([text for _, text in elements.of("style")], "style-src")):
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert rules[rule].split() == [f"'sha256-{digest}'" for digest in digests]


def test_nothing_is_loaded_from_elsewhere():
    html = hostile_page().html()
    assert not re.findall(r"<(?:script|link|img|iframe|source)[^>]+(?:src|href)=[\"']?(?!data:,)[^\s>\"']+", html)
    for name in SCRIPTS:  # nothing of the page's own makes elements out of text
        text = (FRONT / name).read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text), (
            name
        )


def test_a_page_without_curves_or_people_leaves_their_libraries_out():
    page = Page("plain")
    page.add("facts", "", groups=[])
    assert len(page.html()) < 100_000


@pytest.mark.parametrize(
    ("dtype", "values"),
    [("f4", [[0.5, -1.25], [np.nan, 3.0]]), ("f8", [1e-300, 2.0]), ("i2", [-32768, 32767]), ("u1", [[0, 255]])],
)
def test_arrays_come_back_as_they_were(dtype, values):
    page = Page("arrays")
    packed = page.array(values, dtype)
    found = np.frombuffer(base64.b64decode(page.blobs[packed["blob"]]), f"<{dtype}").reshape(packed["shape"])
    np.testing.assert_array_equal(found, np.array(values, dtype))


def test_a_sections_digest_follows_its_content_and_not_its_blobs_numbers():
    def digests(*curves):
        page = Page("digests")
        for i, curve in enumerate(curves):
            page.add("x", str(i), data=page.array(curve))
        return [section["digest"] for section in json.loads(page.document())["sections"]]

    first = digests([1, 2], [3])
    page = Page("digests")
    page.array([7])
    page.add("x", "0", data=page.array([1, 2]))
    assert json.loads(page.document())["sections"][0]["digest"] == first[0]
    assert digests([1, 2], [4])[1] != first[1]


def test_the_bundled_libraries_are_those_of_their_digests():
    vendor = FRONT / "vendor"
    lines = (vendor / "SHA256SUMS").read_text().splitlines()
    found = {name: digest for digest, name in (line.split() for line in lines)}
    assert set(found) == {"uplot.min.js", "uplot.min.css", "three.min.js"}
    for name, digest in found.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest
    licences = (vendor / "LICENSES").read_text()
    for package in ("uPlot 1.6.32", "three.js 0.187.0"):
        assert package in licences
    locked = json.loads((vendor / "package-lock.json").read_text())["packages"]
    assert (locked["node_modules/uplot"]["version"], locked["node_modules/three"]["version"]) == ("1.6.32", "0.187.0")


def colours(css: str, dark: bool) -> dict[str, str]:
    block = re.findall(r":root \{(.*?)\}", css, re.S)[1 if dark else 0]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block))


def contrast(a: str, b: str) -> float:
    """The ratio that WCAG 2 defines."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_lines_stand_out_in_light_and_dark(dark):
    found = colours((FRONT / "page.css").read_text(), dark)
    assert contrast("#000000", "#ffffff") == 21
    pairs = [(text, ground) for text in ("ink", "soft", "accent", "good") for ground in ("paper", "card")]
    pairs += [("ink", "fill"), ("warn", "warn-fill"), ("accent-ink", "accent")]
    assert {
        pair: round(contrast(found[pair[0]], found[pair[1]]), 2)
        for pair in pairs
        if contrast(found[pair[0]], found[pair[1]]) < 4.5
    } == {}
    lines = [f"s{i}" for i in range(8)] + ["right", "left", "trunk", "ghost"]  # graphics need 3 to 1
    assert {
        name: contrast(found[name], found["card"]) for name in lines if contrast(found[name], found["card"]) < 3
    } == {}
