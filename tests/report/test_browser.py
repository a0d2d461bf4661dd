"""The page in a real browser: nothing is fetched, nothing fails, nothing is cut off."""

import csv
import io
import re
import shutil

import pytest
import sample

from wieldy.report.columns import layer_table
from wieldy.report.compare import write_comparison
from wieldy.report.page import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RECORDS = {
    "full": sample.full_record,
    "mixed": sample.mixed_record,
    "minimal": sample.minimal_record,
    "crowded": sample.crowded_record,
    "other": sample.other_record,
}
COMPARED = {  # pages of two
    "compared": lambda: sample.full_record(seed=3, timing=sample.timing(0.44, threads=1), verdict="missed"),
    "apart": sample.crowded_record,
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
    first = ("runs/demo", sample.full_record())
    for name, make in COMPARED.items():
        write_comparison(first, (f"runs/{name}", make()), folder / f"{name}.html")
    for name, make in RECORDS.items():
        write_report(make(), folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in (*RECORDS, *COMPARED)}


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
        ("other", "dark"),
        ("compared", "light"),
        ("compared", "dark"),
        ("apart", "light"),
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
        assert shown == [1] * 12
        page.close()
    assert len(colours) == 2


def test_the_first_screen_shows_verdict_and_what_was_not_tested(browser, files):
    page, *_ = visit(browser, files["full"], "light", 1400)
    for selector in (
        ".hero",
        ".floors li:last-child",
        "#not-tested li:last-child",
        "#evidence li:last-child",
        "#conditions dd >> nth=-1",
    ):
        box = page.locator(selector).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 900, selector
    page.close()


def cells_of(page, head):
    """What a column of the table of layers is sorted by, as the rows stand."""
    return page.evaluate(
        """(head) => {
          const table = document.querySelector("table.sortable");
          const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === head);
          return [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => key(row.cells[column]));
        }""",
        head,
    )


@pytest.mark.parametrize("head", ["MACs", "Milliseconds", "Kept", "Layer"])
def test_layers_sort_by_size_and_return_to_their_order(browser, files, head):
    page, *_ = visit(browser, files["full"], "light", 1400)
    original = cells_of(page, head)
    ordered = sorted(original, key=lambda key: (key != "", isinstance(key, str), key if key != "" else 0))
    button = page.get_by_role("button", name=head, exact=True)
    button.click()
    if head == "Layer":
        assert cells_of(page, head)[0] == "stem"
    else:
        assert cells_of(page, head) == ordered[::-1]
        button.click()
        assert cells_of(page, head) == ordered
    button.click()
    if head == "Layer":
        button.click()
    assert cells_of(page, head) == original
    page.close()


def test_a_column_says_how_it_is_sorted(browser, files):
    page, *_ = visit(browser, files["full"], "light", 1400)
    button = page.get_by_role("button", name="MACs", exact=True)
    heads = page.locator("table.sortable th[aria-sort]")
    for order in ("descending", "ascending"):
        button.focus()
        page.keyboard.press("Enter")
        assert heads.get_attribute("aria-sort") == order
    button.click()
    assert heads.count() == 0
    page.close()


def test_filtering_leaves_the_rows_that_hold_every_word_and_says_how_many(browser, files):
    page, *_ = visit(browser, files["full"], "light", 1400)
    rows = page.locator("table.sortable tbody tr:visible")
    status = page.locator(".tools [role=status]")
    everything = rows.count()
    assert status.inner_text() == f"{everything} of {everything} layers"
    page.get_by_label("Filter layers").fill("CONV2D stage3")
    names = [
        row.layer for row in sample.layer_rows((4, 8, 16)) if row.op == "conv2d" and "stage3" in row.layer
    ]
    assert rows.count() == len(names)
    assert status.inner_text() == f"{len(names)} of {everything} layers"
    page.get_by_role("button", name="MACs", exact=True).click()
    assert rows.count() == len(names)
    page.get_by_label("Filter layers").fill("nothing is called so")
    assert rows.count() == 0
    assert status.inner_text() == f"0 of {everything} layers"
    page.get_by_label("Filter layers").fill("")
    assert rows.count() == everything
    page.close()


def downloaded(page, name):
    """Click a button and return the name and text of what it hands out."""
    with page.expect_download() as caught:
        page.get_by_role("button", name=name).click()
    path = caught.value.path()
    return caught.value.suggested_filename, path.read_bytes().decode("utf-8")


def table_as_csv(record):
    """What the table of layers holds, as a spreadsheet reads it."""
    table = layer_table(record)
    rows = [[value for cell in row for value in (cell.raw or (cell.before,))] for row in table.rows]
    return [[name for column in table.columns for name in column.names], *rows]


def test_the_csv_is_the_table(browser, files):
    page, asked, wrong = visit(browser, files["full"], "light", 1400)
    name, text = downloaded(page, "Download CSV")
    assert name == "layers.csv"
    found = list(csv.reader(io.StringIO(text)))
    wanted = table_as_csv(sample.full_record())
    assert found[0] == wanted[0]
    for row, cells in zip(found[1:], wanted[1:], strict=True):
        for one, other in zip(row, cells, strict=True):
            assert one == other if isinstance(other, str) else float(one) == pytest.approx(other)
    page.get_by_label("Filter layers").fill("linear")
    _, text = downloaded(page, "Download CSV")
    assert [row[0] for row in csv.reader(io.StringIO(text))] == ["layer", "classifier"]
    assert wrong == []
    assert [url for url in asked if not url.startswith("blob:")] == [files["full"].as_uri()]
    page.close()


def test_no_cell_of_the_csv_is_a_formula(browser, tmp_path):
    names = ("=1+1", "+cmd", "-2", "@SUM(A1)", "\t=1", " =1", 'a"b', "a,b", "a\nb", "plain", "'quoted")
    (one, *_) = sample.layer_rows((4, 8, 16))
    rows = tuple(one.model_copy(update={"layer": name, "op": name}) for name in names)
    record = sample.full_record(
        layers_original=rows, layers_package=rows, times_original=(), times_package=()
    )
    page, *_ = visit(browser, write_report(record, tmp_path / "hostile.html"), "light", 1400)
    _, text = downloaded(page, "Download CSV")
    found = [row[0] for row in csv.reader(io.StringIO(text, newline=""))][1:]
    assert [cell.removeprefix("'") for cell in found if cell.startswith("'")] == [*names[:6], "quoted"]
    assert not [cell for cell in found if re.match(r"\s*[=+\-@]", cell)]
    assert found[6:10] == list(names[6:10])
    page.close()


def test_the_model_card_is_handed_out_as_markdown(browser, files):
    page, *_ = visit(browser, files["full"], "light", 1400)
    name, text = downloaded(page, "Download as Markdown")
    assert name == "model-card.md"
    assert text.startswith("# residual28 on Fashion-MNIST")
    assert "## What was not tested" in text
    assert "&lt;script>alert(1)" in text  # as Markdown escapes it, and not twice
    page.close()


def test_marks_of_a_chart_say_what_they_are_to_pointer_and_keyboard(browser, files):
    page, *_ = visit(browser, files["full"], "light", 1400)
    tip = page.locator("#tip")
    assert tip.is_hidden()
    chart = page.locator("#trade-off svg.chart:visible")
    page.get_by_role("link", name="Reproduce").focus()
    for _ in range(60):  # through the links of the first screen, to the chart's one stop
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.mark')"):
            break
    assert tip.is_visible()
    assert "60" in tip.inner_text()  # the chosen one comes first
    assert tip.inner_text() == page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("ArrowRight")
    assert "70" in tip.inner_text()
    page.keyboard.press("Home")
    assert "10" in tip.inner_text()
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    assert chart.locator(".mark[tabindex='0']").count() == 1
    page.locator("#time .mark:visible").first.hover(force=True)  # between its two bars
    assert "ms" in tip.inner_text()
    page.mouse.move(0, 0)
    assert tip.is_hidden()
    assert page.locator("svg.chart title").count() == 0
    page.close()


def test_tips_stay_on_the_screen(browser, files):
    page, *_ = visit(browser, files["full"], "light", 400)
    for mark in page.locator("#same-corruptions .mark:visible").all()[::9]:
        mark.focus()
        box = page.locator("#tip").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 400
    page.close()


def test_pictures_are_drawn_and_named(browser, files):
    page, *_ = visit(browser, files["full"], "light", 1400)
    loaded = "[...document.images].map((image) => [image.naturalWidth, image.alt.startsWith('test picture')])"
    assert page.evaluate(loaded) == [[28, True]] * 24
    page.close()


def test_hatching_is_seen_where_nothing_was_gained(browser, files):
    page, *_ = visit(browser, files["full"], "light", 1400)
    fills = page.evaluate(
        "[...document.querySelectorAll('#time .only-full rect.package')].map((r) => getComputedStyle(r).fill)"
    )
    assert sum("#hatch" in fill for fill in fills) == 2
    assert len(set(fills)) == 2
    page.close()


def test_the_page_is_complete_without_script(browser, files):
    page, *_ = visit(browser, files["full"], "light", 1400, java_script_enabled=False)
    assert page.locator("table.sortable tbody tr").count() == len(sample.layer_rows((4, 8, 16)))
    assert page.locator("button").count() == 0
    assert page.locator("svg.chart .mark title").count() > 100
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
    page.close()


@pytest.mark.parametrize(("name", "fewest", "most"), [("full", 8, 24), ("minimal", 2, 7), ("compared", 3, 9)])
def test_a4_pages_are_as_many_as_the_page_is_long(browser, files, name, fewest, most):
    page, *_ = visit(browser, files[name], "dark", 1400)
    margins = dict.fromkeys(("top", "bottom", "left", "right"), "12mm")
    printed = page.pdf(format="A4", margin=margins)
    assert fewest <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= most
    assert len(printed) > 10_000
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 1000})  # what is left of A4 between the margins
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert page.locator("#tip").is_hidden()
    assert (
        page.locator(".tools:visible, button:visible").count() == page.locator("thead button:visible").count()
    )
    page.close()


@pytest.mark.parametrize("name", ["full", "crowded"])
def test_a_page_is_below_a_megabyte_besides_its_pictures(files, name):
    text = files[name].read_text(encoding="utf-8")
    assert len(re.sub(r"data:image/png;base64,[^\"]*", "", text).encode()) < 1_000_000
