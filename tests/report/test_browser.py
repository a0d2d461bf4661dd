"""The page in a real browser: nothing is fetched, nothing fails, nothing is cut off."""

import shutil

import pytest
import sample

from wieldy.report.page import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RECORDS = {
    "full": sample.full_record,
    "mixed": sample.mixed_record,
    "minimal": sample.minimal_record,
    "crowded": sample.crowded_record,
}

# Boxes whose text is wider than they are, unless they or what holds them scroll.
CLIPPED = """() => {
  const scrolls = (e) => ["auto", "scroll"].includes(getComputedStyle(e).overflowX);
  const inside = (e) => e && (scrolls(e) || inside(e.parentElement));
  return [...document.querySelectorAll("body, body *:not(svg *)")]
    .filter((e) => e.clientWidth && e.scrollWidth > e.clientWidth + 1 && !inside(e) && e.tagName !== "svg")
    .map((e) => `${e.tagName}.${e.className}: ${e.scrollWidth} > ${e.clientWidth}: ${e.textContent}`);
}"""
# Text of a chart that leaves its drawing.
OUTSIDE = """() => [...document.querySelectorAll("svg text")].filter((t) => {
  const box = t.getBBox(), view = t.ownerSVGElement.viewBox.baseVal;
  const across = box.x < -0.5 || box.x + box.width > view.width + 0.5;
  return box.width && (across || box.y < 0 || box.y + box.height > view.height + 0.5);
}).map((t) => t.textContent)"""

# How many drawings of each chart are to be seen.
SHOWN = """() => [...document.querySelectorAll(".drawn")].map(
  (chart) => [...chart.querySelectorAll("svg")].filter((drawing) => drawing.clientWidth).length)"""


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install 'wieldy[browser]'"
    )
    if CHROMIUM is None:
        pytest.skip("needs a chromium on the PATH")
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return {name: write_report(make(), folder / f"{name}.html") for name, make in RECORDS.items()}


def visit(browser, file, scheme, width, **context):
    """Open a file and return the page with what it asked for and what went wrong."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, **context)
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on(
        "console",
        lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(file.as_uri())
    return page, asked, wrong


@pytest.mark.parametrize("width", [1400, 760, 400])
@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("full", "light"),
        ("full", "dark"),
        ("mixed", "light"),
        ("minimal", "dark"),
        ("crowded", "light"),
    ],
)
def test_nothing_is_fetched_fails_or_is_cut_off(browser, files, name, scheme, width):
    page, asked, wrong = visit(browser, files[name], scheme, width)
    for state in ("folded", "open"):
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), state
        assert page.evaluate(CLIPPED) == [], state
        assert page.evaluate(OUTSIDE) == [], state
        page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert asked == [files[name].as_uri()]
    assert wrong == []
    page.close()


def test_dark_and_light_differ_and_one_size_of_each_chart_shows(browser, files):
    colours = set()
    for scheme, width in (("light", 1400), ("light", 760), ("dark", 400)):
        page, *_ = visit(browser, files["full"], scheme, width)
        colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        shown = page.evaluate(SHOWN)
        assert shown == [1] * 6
        page.close()
    assert len(colours) == 2


def test_the_first_screen_shows_verdict_and_what_was_not_tested(browser, files):
    page, *_ = visit(browser, files["full"], "light", 1400)
    for selector in (
        ".hero",
        "#not-tested li:last-child",
        "#evidence li:last-child",
        "#conditions dd >> nth=-1",
    ):
        box = page.locator(selector).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 900, selector
    page.close()


def test_layers_sort_by_number_and_return_to_their_order(browser, files):
    page, *_ = visit(browser, files["full"], "light", 1400)
    keys = "[...document.querySelectorAll('table.sortable tbody tr')].map((r) => +r.cells[3].dataset.key)"
    original = page.evaluate(keys)
    button = page.get_by_role("button", name="MACs")
    button.click()
    assert page.evaluate(keys) == sorted(original, reverse=True)
    button.click()
    assert page.evaluate(keys) == sorted(original)
    button.click()
    assert page.evaluate(keys) == original
    page.close()


def test_the_page_is_complete_without_script(browser, files):
    page, *_ = visit(browser, files["full"], "light", 1400, java_script_enabled=False)
    assert page.locator("table.sortable tbody tr").count() == len(sample.layer_rows((4, 8, 16)))
    assert page.locator("button").count() == 0
    page.close()


def test_it_prints_on_white_with_every_table_open(browser, files):
    page, *_ = visit(browser, files["full"], "dark", 760)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("nav").is_hidden()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert len(page.pdf(format="A4")) > 10_000
    page.close()
