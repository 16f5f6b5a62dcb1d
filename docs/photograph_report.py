"""Photographs a report for README: `python -m docs.photograph_report FOLDER/studies/quickstart/report.html`.

It makes docs/report.png, the first screen, and docs/parallel-coordinates.png, from the first stage. Needs chromium.
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.search.report.browser import Browser

WIDTH_PX, HEIGHT_PX = 1100, 790
COLOURS = 64
"""Number of colours of a picture: enough for text and lines, and a small file."""
FIGURE = "document.getElementById('stage-1-parallel-coordinates').closest('figure')"


def photograph(browser: Browser, target: Path, *, top: float, height: float) -> None:
    """Save a strip of the open page, given in CSS pixels."""
    clip = {"x": 0, "y": top, "width": WIDTH_PX, "height": height, "scale": 1}
    shot = browser("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
    image = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1024:.0f} KiB")


def main() -> None:
    """Photograph the report that the command line names."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None or len(sys.argv) != 2:
        raise SystemExit(f"{__doc__}")
    with tempfile.TemporaryDirectory() as profile, Browser(executable, Path(profile)) as browser:
        browser.show(Path(sys.argv[1]).resolve().as_uri(), width=WIDTH_PX)
        photograph(browser, Path(__file__).with_name("report.png"), top=0, height=HEIGHT_PX)
        box = browser.evaluate(f"(({{y, height}}) => ({{y: y + scrollY, height}}))({FIGURE}.getBoundingClientRect())")
        target = Path(__file__).with_name("parallel-coordinates.png")
        photograph(browser, target, top=box["y"] - 16, height=box["height"] + 32)


if __name__ == "__main__":
    main()
