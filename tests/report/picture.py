"""`python -m tests.report.picture PAGE.html "SECTION" OUT.png`: a section of a page as a picture, as README shows them.

Chromium draws it without a network; what is asked for is chosen as a reader would: a tab by its name, a frame by the
slider.
"""

import argparse
import io
from pathlib import Path

from PIL import Image

from moga_st.storage import write_atomically
from tests.report.browse import PATIENCE_MS, chromium


def picture(args: argparse.Namespace) -> Image.Image:
    """The section as Chromium draws it."""
    with chromium() as browser:
        made = browser.new_context(
            viewport={"width": args.width, "height": 900},
            device_scale_factor=args.scale,
            color_scheme="dark" if args.dark else "light",
            offline=True,
        )
        made.set_default_timeout(PATIENCE_MS)
        tab = made.new_page()
        tab.goto(args.page.resolve().as_uri())
        section = tab.get_by_role("region", name=args.section, exact=True).first
        section.scroll_into_view_if_needed()
        players = section.locator("input[type=range][aria-label=Frame]").count()
        if players:
            tab.wait_for_selector(f"section[aria-label='{args.section}'][data-ready]")
        if args.tab is not None:
            ready = section.get_attribute("data-ready")
            section.get_by_role("tab", name=args.tab, exact=True).click()
            while section.get_attribute("data-ready") == ready:
                tab.wait_for_timeout(50)
        if args.frame is not None:
            section.get_by_label("Frame", exact=True).fill(str(args.frame - 1))
        if args.over is not None:
            section.locator("label").filter(has_text="Over").locator("select").select_option(label=args.over)
        for name in args.press:
            section.get_by_role("button", name=name, exact=True).click()
        tab.evaluate("document.activeElement.blur()")
        tab.wait_for_timeout(1000)  # 3D is drawn when the browser next has time
        wanted = section
        if args.chart is not None:
            title = tab.locator("figcaption").get_by_text(args.chart, exact=True)
            wanted = section.locator("figure").filter(has=title)
        return Image.open(io.BytesIO(wanted.screenshot())).convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("section", help="its title")
    parser.add_argument("out", type=Path)
    parser.add_argument("--tab", help="name of the example or metric to choose")
    parser.add_argument("--frame", type=int, help="counted from 1")
    parser.add_argument("--chart", help="title of the only chart to show")
    parser.add_argument("--over", help="what a chart's curves run over, such as minutes")
    parser.add_argument("--press", action="append", default=[], help="name of a button")
    parser.add_argument("--width", type=int, default=1000, help="of the window, in pixels")
    parser.add_argument("--scale", type=float, default=1.0, help="pixels of the picture for one of the page")
    parser.add_argument("--dark", action="store_true")
    args = parser.parse_args()
    small = picture(args).quantize(128, dither=Image.Dither.NONE)  # a third of the bytes, and nobody sees it
    write_atomically(args.out, lambda part: small.save(part, "PNG", optimize=True))
    print(f"{args.out}: {small.width}x{small.height}, {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
