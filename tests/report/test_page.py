import re
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
import sample
import sample_evidence

from wieldy.core.data import Arrays, Data
from wieldy.core.errors import DependencyError, StorageError
from wieldy.core.records import Evidence, LayerTime, RunRecord
from wieldy.graph.trace import trace
from wieldy.package.save import save
from wieldy.report import page
from wieldy.report.evidence import KINDS, sort_evidence
from wieldy.report.layers import pair_layers, pair_times
from wieldy.report.markdown import markdown
from wieldy.report.sameness import MISSED

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Balance(HTMLParser):
    """Collects text, and fails where a tag is closed that is not the last one opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)


def read(html: str) -> str:
    """Return the visible words of a page whose tags balance."""
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    return re.sub(r"\s+", " ", " ".join(parser.words))


@pytest.fixture(scope="module")
def html() -> str:
    return page.render(sample.full_record())


@pytest.fixture(scope="module")
def words(html) -> str:
    return read(html)


@pytest.mark.parametrize(
    "figure",
    [
        "budget met",
        "0.48",
        "[0.47, 0.49]",
        "2.08×",
        "[2.04, 2.12]",
        "0.300 ms",
        "was 0.621 ms, batch 1",
        "−75 %",
        "696,042 → 174,778",
        "2.83 MB → 748 kB",
        "0.42 points",
        "94.68 % → 94.26 %, 10,000 test examples",
        "5 proved · 5 refuted · 2 unknown",
        sample.CPU,
        "avx512",
        "20 paired rounds in one process, each A B B A",
        "Adversarial inputs.",
        "bf16 on the original",
        "0.80 [0.79, 0.81] of the milliseconds (0.621 ms → 0.500 ms)",
        "less than the package gains",
        "All 16 candidates as a table",
        "✓ chosen",
        "stage2.0.shortcut.0",
        "brgconv_avx512_1x1_f32",
        "jit_avx512_f32 → gemm_mlas_f32",
        "no gain",
        "94.22, 95.10",
        "3.01 [2.69, 3.36] %",
        "p = 0.012",
        "−3.10 [−4.93, −1.27]",
        "Worse beyond chance: Shirt.",
        "0.0232",
        "0.0188",
        "8.6×10⁻⁶",
        "the test set is drawn as the inputs in use are",
        "one foreign data set stands for all",
        "0.91 [0.89, 0.93]",
        "12 more pictures",
        "Worse beyond chance: stamped in a corner",
        "15.80 [14.60, 17.00] %",
        "0.0812",
        "+0.0052 [+0.0031, +0.0073]",
        "Temperatures were fitted on 1,000 validation examples.",
        "−1.25 [−1.43, −1.07]",
        "✕ 3.6 lost",
        "+1.22 [+0.58, +1.86]",
        "elastic transform, severity 5: original",
        "0.952 → 0.921",
        "APGD-CE at 8/255: original",
        "Noise alone at 8/255, original → package",
        "Strongest attack at 0.5, original → package",
        "100.00 [99.96, 100.00] %",
        "at 2/255: original 50.0 %, package 50.0 %",
        "Mean width of the package’s bounds, CROWN",
        "Floors that you set",
        "points lost by the worst class: at most 2",
        "(measured 3.1)",
        "(the network is too large)",
        "5.0 %",
        "16 of 64",
        "with stage3.1.conv2",
        "package, no gain on this CPU",
        "best 94.19 %",
        "N×32×28×28 → N×16×28×28",
        "79.0 M → 19.8 M (−75 %)",
        "out channels 32 → 16, in channels 32 → 16",
        "its outputs are the classes; they must stay",
        "residual28.wieldy",
        "748,211 bytes",
        "a3" * 32,
        "the validation set is a split of the training set",
        "wieldy run --model residual28 --budget latency=50%",
        "20240117",
        "0.5 of the original",
        "recovery: learning rate 0.02",
        "2026.4.1",
    ],
)
def test_the_page_says(figure, words):
    assert figure in words


def test_sections_stand_in_order(html):
    order = [
        html.index(f'<section id="{name}"')
        for name in ("verdict", "trade-off", "time", "same", "layers", "files", "reproduce")
    ]
    assert order == sorted(order)


def test_nothing_is_loaded(html):
    loads = r"\s(?:src|href|action|data|poster|srcset)=[\"'](?!#|data:image/png;base64,)"
    assert not re.search(loads, html)
    assert set(re.findall(r"url\(([^)]*)\)", html)) == {"#hatch"}
    assert "@import" not in html
    assert "http:" not in html
    assert "https:" not in html
    assert "default-src 'none'" in html
    targets = re.findall(r'href="([^"]*)"', html)
    assert targets
    assert all(target.startswith("#") and f'id="{target[1:]}"' in html for target in targets)


def test_addresses_in_the_record_are_text_and_never_links():
    found = page.render(sample.full_record(data={"source": "https://example.org/data"}))
    assert "https://example.org/data" in read(found)
    assert not re.search(r"(?:src|href)=.?http", found)


def test_text_of_the_record_is_escaped(html, words):
    assert sample.SCRIPT in words
    assert html.count("<script>") == 1
    assert "<script>alert" not in html
    hostile = '"><img src=x onerror=alert(1)>'
    package = sample.full_record().package.model_copy(update={"path": f'a")+alert(1){hostile}'})
    found = page.render(
        sample.full_record(
            title=hostile,
            reasons=(hostile,),
            reproduce=(hostile,),
            environment={hostile: hostile},
            not_tested=(hostile,),
            package=package,
            evidence=sample.hostile_evidence(hostile),
            changes=sample.hostile_changes(hostile),
            layers_original=sample.hostile_layers(hostile),
        )
    )
    assert "<img" not in found
    assert hostile in read(found)
    assert 'wieldy.open("a\\")+alert(1)' in read(found)


def test_pictures_are_pictures_or_nothing():
    numbers = sample_evidence.predictions()
    sources = ("data:image/svg+xml;base64,AAAA", "javascript:alert(1)", 'data:image/png;base64,"><script>', 7)
    flips = numbers["first_flipped"][: len(sources)]
    numbers["first_flipped"] = [{**f, "picture": s} for f, s in zip(flips, sources, strict=True)]
    odd = Evidence(kind="predictions", claim="c", verdict="unknown", numbers=numbers)
    found = page.render(sample.full_record(evidence=(odd,)))
    assert "<img" not in found
    assert "The first 4 examples that flipped" in found


def test_a_picture_says_what_it_is(html):
    flip = sample_evidence.predictions()["first_flipped"][2]
    classes = sample.CLASSES
    truth, before, after = (classes[flip[key]] for key in ("target", "original", "package"))
    words = f"test picture {flip['index']}: truth {truth}, original says {before}, package says {after}"
    assert f'alt="{escape(words)}"' in html
    assert html.count("<img ") == html.count('alt="test picture') == 24


def test_figures_have_few_digits(words):
    assert not re.search(r"\d\.\d{7,}", words)


def test_a_missed_budget_is_as_plain_as_a_met_one():
    reason = "Quality: at most 0.1 points may be lost; 0.42 were lost."
    found = page.render(
        sample.full_record(
            verdict="missed", reasons=(reason,), evidence=(sample.metric_evidence(allowed=0.1),)
        )
    )
    assert "budget missed" in read(found)
    assert reason in read(found)
    assert "budget met" not in read(found)
    assert 'class="badge refuted"' in found


def test_every_verdict_is_a_word_and_a_sign(html):
    for verdict, sign in (("proved", "✓"), ("refuted", "✕"), ("unknown", "?")):
        assert (
            f'<span class="badge {verdict}"><span aria-hidden="true">{sign}</span> {verdict}</span>' in html
        )


def test_a_minimal_record_renders_and_says_what_is_missing():
    found = read(page.render(sample.minimal_record()))
    assert "Untitled run" in found
    assert "1.04" in found
    assert "slower" in found
    assert found.lower().count("not applicable") >= 4
    assert found.count("The record holds no evidence.") >= len(MISSED)
    assert "hidden triggers, such as a stamp on a picture, were not tested" in found
    assert "Speed was measured, behaviour was not" in found


def test_a_record_without_a_list_does_not_claim_that_all_was_tested():
    found = read(page.render(sample.full_record(not_tested=())))
    assert "That does not mean that everything was tested" in found


@pytest.mark.parametrize(
    "field", [name for name, info in RunRecord.model_fields.items() if not info.is_required()]
)
def test_each_part_may_be_missing(field):
    empty = RunRecord.model_fields[field].get_default(call_default_factory=True)
    read(page.render(sample.full_record(**{field: empty})))


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"classes": []},
        {"classes": [{"class": 3}]},
        {"fixed": "many", "broken": 1, "flips": 2, "flip_share": {"value": 2}, "p_value": 0.5},
        {"drop_points": {"value": 1, "low": 2}},
        {"bins_original": 4, "bins_package": None, "original": 1, "package": 2},
        {"largest": float("nan"), "mean": 0.1, "largest_relative": 0.1, "predictions_that_differ": 0},
        {"deep": {"er": [{"est": 1}] * 40}, "none": None, "flag": True, "list": list(range(100))},
    ],
)
def test_evidence_of_another_shape_is_shown_and_never_a_crash(numbers):
    odd = Evidence(kind="something", claim="something else holds", verdict="unknown", numbers=numbers)
    for kind in KINDS:
        known = odd.model_copy(update={"kind": kind})
        assert sort_evidence((known,)).others == (known,)
    found = read(page.render(sample.full_record(evidence=(odd,))))
    assert "omething else holds" in found
    assert all(key in found for key in numbers)


def test_evidence_as_examine_writes_it_is_recognised(tmp_path):
    torch = pytest.importorskip("torch")
    from wieldy.assure.equivalence import examine

    network = trace(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)), torch.zeros(1, 2, 2))
    path = save(network, tmp_path / "a.wieldy")
    inputs = np.random.default_rng(0).normal(size=(30, 2, 2)).astype(np.float32)
    split = Arrays(inputs, np.arange(30) % 3)
    evidence = examine(path, path, Data(train=split, validate=split, test=split))
    assert sort_evidence(evidence).others == ()
    assert "0.00 [0.00, 0.00], 1 allowed" in read(page.render(sample.full_record(evidence=evidence)))


def test_a_crowded_record_renders():
    found = read(page.render(sample.crowded_record()))
    assert "more than the package gains" in found
    assert "20 more are in the table" in found
    assert "and 32 more" in found
    assert "1.20 [1.19, 1.21] of the milliseconds (0.621 ms → 0.748 ms); no gain." in found
    assert "50 classes in the middle are in the table only" in found


def test_a_record_read_back_from_json_gives_the_same_page(html):
    assert page.render(RunRecord.from_json(sample.full_record().to_json())) == html


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch, html):
    path = page.write_report(sample.full_record(), str(tmp_path / "report.html"))
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == html
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.md"]
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == markdown(sample.full_record())

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(StorageError, match="No space left"):
        page.write_report(sample.minimal_record(), path)
    assert path.read_text(encoding="utf-8") == html
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.md"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        page.write_report(sample.minimal_record(), tmp_path / "nowhere" / "report.html")


def test_a_missing_extra_is_a_sentence(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(DependencyError, match=r"the report needs jinja2.*wieldy\[compress\]"):
        page.render(sample.minimal_record())


def test_operations_are_matched_by_what_the_runtime_fused():
    times = sample.layer_times((4, 8, 16))
    bars = pair_times(times, times[::-1][:-1])
    assert [bar.original_ms for bar in bars] == [t.milliseconds for t in times]
    assert bars[0].package_ms is None
    assert all(bar.package_ms == bar.original_ms and bar.note == "no gain" for bar in bars[1:])


def test_operations_that_one_side_runs_together_are_one_bar():
    def time(milliseconds, *layers):  # type: ignore[no-untyped-def]
        return LayerTime(layers=layers, kind="Convolution", kernel="jit", milliseconds=milliseconds)

    before = [time(1.0, "a", "relu"), time(2.0, "b"), time(3.0, "c"), time(4.0, "d")]
    after = [time(0.5, "a", "b"), time(0.25, "relu", "c"), time(5.0, "d"), time(0.1)]
    bars = pair_times(before, after)
    assert [(bar.name, bar.original_ms, bar.package_ms) for bar in bars] == [
        ("a", 6.0, 0.75),
        ("d", 4.0, 5.0),
        ("Convolution", None, 0.1),
    ]
    assert bars[0].fused == ("relu", "b", "c")
    assert [bar.note for bar in bars] == ["", "no gain", ""]


def test_zeros_that_a_file_leaves_out_are_named(tmp_path):
    record = sample.full_record()
    package = record.package.model_copy(update={"zeros": 100_000})
    text = page.render(record.model_copy(update={"package": package}))
    assert "Parameters that are not zero" in text
    assert "74,778" in text
    assert "Parameters that are not zero" not in page.render(record)


def test_layers_are_matched_in_order_and_lost_ones_are_shown():
    before = sample.layer_rows((4, 8, 16))
    pairs = pair_layers(before, before[1:])
    assert pairs[0].after is None
    assert all(pair.before is pair.after for pair in pairs[1:])
    assert pair_layers((), before[:1])[0].before is None


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_are_far_enough_apart(scheme, html):
    blocks = re.findall(r":root \{(.*?)\}", html, re.DOTALL)
    colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[scheme]))
    for ink in ("ink", "dim", "accent", "bad"):
        for paper in ("card", "back", "sunk", "bad-soft" if ink == "bad" else "accent-soft"):
            assert contrast(colour[ink], colour[paper]) >= 4.5, (ink, paper)
    assert contrast(colour["original"], colour["card"]) >= 3
