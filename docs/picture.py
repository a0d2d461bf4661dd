"""Write docs/pictures/page.png: the top of a run's page, as a browser shows it.

python docs/picture.py runs/demo
"""

import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parent / "pictures" / "page.png"
SIZE = {"width": 1280, "height": 900}
BELOW = 16  # pixels
COLOURS, MOST_BYTES = 96, 200_000


def screenshot(page_file: Path) -> Image.Image:
    """Return a page down to the end of its verdict."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(page_file.resolve().as_uri())
        verdict = page.locator("#verdict").bounding_box()
        assert verdict is not None
        end = verdict["y"] + verdict["height"] + BELOW
        taken = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": SIZE["width"], "height": end})
        browser.close()
    return Image.open(BytesIO(taken)).convert("RGB")


def main(folder: Path) -> int:
    """Take the picture of a run and say how large it is."""
    PICTURE.parent.mkdir(exist_ok=True)
    screenshot(folder / "report.html").quantize(COLOURS).save(PICTURE, optimize=True)
    size = PICTURE.stat().st_size
    print(f"{PICTURE}: {size:,} bytes")
    return 0 if size < MOST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if sys.argv[1:] else "runs/demo")))
