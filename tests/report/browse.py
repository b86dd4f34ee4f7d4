"""Headless Chromium, for what tests pages and for the pictures of them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright import sync_api

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRAWING = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
"""3D without a graphics card."""
PATIENCE_MS = 120_000
"""Of a machine that does much else besides."""


@contextmanager
def chromium() -> Iterator[sync_api.Browser]:
    """A browser, as long as it is needed."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(DRAWING))
        yield browser
        browser.close()
