"""The report in Markdown: every claim, and no markup but ours."""

import json

import pytest
import sample
import sample_evidence
from hypothesis import given
from hypothesis import strategies as st

from wieldy.core.records import RunRecord
from wieldy.report import marks
from wieldy.report.markdown import markdown, model_card
from wieldy.report.sections import sections
from wieldy.report.svg import clean

markdown_it = pytest.importorskip("markdown_it")
READER = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
HOSTILE = (
    "<script>alert(1)</script>", "![x](http://a/b.png)", "[x](javascript:alert(1))", "# head", "> quote",
    "- item", "1. item", "a | b | c", "`code`", "```\nfence", "**bold** _it_ ~~no~~", "[x]: http://a",
    "<http://a>", "&lt;b&gt;", "line\n\n# second", "\\", "***", "| a |\n| - |", "<!-- x", "    indented",
    "=====", "\x00\x1b[31m",
)  # fmt: skip
PLAIN = {
    "inline", "text", "paragraph_open", "paragraph_close", "softbreak", "text_special", "list_item_open",
    "list_item_close", "bullet_list_open", "bullet_list_close",
}  # fmt: skip


def kinds(source: str) -> set[str]:
    """Every kind of token of a document."""
    tokens = READER.parse(source)
    return {t.type for t in tokens} | {child.type for t in tokens for child in t.children or ()}


def words_of(source: str) -> str:
    inside = (child for token in READER.parse(source) for child in token.children or ())
    return "".join(child.content for child in inside)


def record_of(words: str) -> RunRecord:
    return sample.full_record(
        title=words,
        reasons=(words,),
        reproduce=(words,),
        environment={words: words},
        data={words: words},
        not_tested=(words,),
        evidence=sample.hostile_evidence(words),
        changes=sample.hostile_changes(words),
        layers_original=sample.hostile_layers(words),
    )


@pytest.fixture(scope="module")
def written() -> str:
    return markdown(sample.full_record())


def test_the_verdict_every_reason_and_every_claim_are_there(written: str) -> None:
    record = sample.full_record()
    read = words_of(written)
    for words in ("Budget met.", "0.48 [0.47, 0.49]", *record.reasons, *(e.claim for e in record.evidence)):
        assert words in read
    for item in record.evidence:
        assert all(assumption in read for assumption in item.assumptions)
    for words in (*record.not_tested, *record.environment.values(), record.package.sha256):
        assert words in read
    for command in record.reproduce:
        assert command in written


def test_every_table_of_the_page_is_there(written: str) -> None:
    of = sections(sample.full_record())
    tables = [of.trade_off["table"], of.times["table"], of.layers["changes"], of.layers["refused"]]
    tables += [table for card in of.same["cards"] for table in card.tables]
    for table in tables:
        assert marks.table(table) in written
    assert written.count("| conv2d |") == sum(
        row.op == "conv2d" for row in sample.full_record().layers_original
    )


@pytest.mark.parametrize(
    "make", [sample.minimal_record, sample.mixed_record, sample.other_record, sample.crowded_record]
)
def test_other_records_are_written_too(make) -> None:  # type: ignore[no-untyped-def]
    record = make()
    read = words_of(markdown(record))
    assert all(" ".join(e.claim.split()) in read for e in record.evidence if e.measured)
    assert "What was not tested" in read


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_of_a_record_becomes_markup(hostile: str) -> None:
    harmless = kinds(markdown(record_of("harmless")))
    assert kinds(markdown(record_of(hostile))) == harmless
    assert "html_inline" not in harmless
    assert "link_open" not in harmless
    assert "image" not in harmless
    rows = [
        sum(t.type == "tr_open" for t in READER.parse(markdown(record_of(w)))) for w in ("harmless", hostile)
    ]
    assert rows[0] == rows[1]


@given(st.text(max_size=40))
def test_any_words_are_read_as_they_stand(words: str) -> None:
    plain = marks.text(words)
    assert kinds(plain) <= PLAIN
    read = "".join(clean(" ".join(words.split())).split())
    assert "".join(words_of(plain).split()) == read


@given(st.text(max_size=30))
def test_any_code_stays_inside_its_fence(words: str) -> None:
    tokens = READER.parse(marks.block([words]))
    assert [token.type for token in tokens] == ["fence"]


def test_figures_stay_readable() -> None:
    for words in (
        "0.48 [0.47, 0.49]",
        "−0.0044 [−0.0105, +0.0017]",
        "N×32 → N×16",
        "jit_avx512_f32",
        "2.83 MB",
        "p < 0.001",
    ):
        assert marks.text(words) == words


def test_a_model_card_has_use_data_limits_and_what_was_not_tested() -> None:
    record = sample.full_record()
    read = model_card(sections(record))
    heads = [line[3:] for line in read.splitlines() if line.startswith("## ")]
    assert heads == ["Measured on", "Files", "Use", "Data", "Limits", "What was not tested"]
    assert all(item in read for item in record.not_tested)
    refuted = [item for item in record.evidence if item.verdict == "refuted"]
    assert all(item.claim in words_of(read) for item in refuted)


def test_pictures_stay_with_the_page(written: str) -> None:
    assert "data:image" not in written
    flip = sample_evidence.predictions()["first_flipped"][0]
    assert f"| {flip['index']} |" in written


def test_figures_that_nobody_knows_are_written_as_they_are(written: str) -> None:
    numbers = sample.all_evidence()[-4].numbers
    assert json.dumps(numbers, indent=1) in written
