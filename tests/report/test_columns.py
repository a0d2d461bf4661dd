"""The table of layers."""

import sample

from wieldy.core.records import Change, LayerTime
from wieldy.report.columns import Cell, LayerTable, layer_table
from wieldy.report.layers import timed


def table_of(**fields: object) -> LayerTable:
    return layer_table(sample.full_record(**fields))


def column(table: LayerTable, head: str) -> dict[str, Cell]:
    names = [cell.before for cell in table.columns[0].cells]
    (found,) = (column for column in table.columns if column.head == head)
    return dict(zip(names, found.cells, strict=True))


def test_columns_of_which_nothing_is_known_are_left_out() -> None:
    heads = [of.head for of in table_of().columns]
    assert heads == [
        "Layer", "Operation", "Method", "Kept", "Bits", "Rank", "Bytes", "Milliseconds", "MACs", "Parameters",
        "Shape",
    ]  # fmt: skip
    bare = table_of(changes=(), times_original=(), times_package=())
    gone = {"Method", "Kept", "Bits", "Rank", "Milliseconds"}
    assert [of.head for of in bare.columns] == [head for head in heads if head not in gone]


def test_what_was_done_to_a_layer_stands_in_its_row() -> None:
    table = table_of()
    assert column(table, "Method")["stage3.0.conv2"].before == "taylor, zeros"
    kept = column(table, "Kept")["stage3.0.conv2"]
    assert kept.raw == (round(0.5 * 922 / 9216, 6),)
    assert column(table, "Rank")["stage3.1.conv2"] == Cell("16 of 64", raw=(16,))
    assert column(table, "Bits")["stage3.1.conv1"].before == "8"
    assert column(table, "Method")["classifier"] == Cell()


def test_a_change_goes_to_the_row_that_holds_parameters() -> None:
    rows = sample.layer_rows((4, 8, 16))
    rows = (rows[2].model_copy(update={"layer": "stem"}), *rows)
    change = Change(layer="stem", method="zeros", before={}, after={"weights": 4, "nonzero": 1}, seed=0)
    table = table_of(layers_original=rows, layers_package=rows, changes=(change,))
    methods = [cell.before for cell in table.columns[2].cells]
    assert methods[:2] == ["", "zeros"]
    assert methods.count("zeros") == 1


def test_both_sides_are_told_and_handed_out_as_they_are() -> None:
    table = table_of()
    rows = sample.layer_rows((32, 64, 128)), sample.layer_rows((16, 32, 64))
    for old, new, cell in zip(*rows, column(table, "MACs").values(), strict=True):
        assert cell.raw == (old.macs, new.macs)
    for found in table.columns:
        widths = {len(cell.raw) or 1 for cell in found.cells}
        assert widths == {len(found.names)}


def test_a_layer_that_is_gone_or_new_says_so() -> None:
    rows = sample.layer_rows((4, 8, 16))
    table = table_of(layers_original=rows, layers_package=rows[1:], changes=())
    assert column(table, "MACs")["stem"].after == "gone"
    table = table_of(layers_original=rows[1:], layers_package=rows, changes=())
    assert column(table, "MACs")["stem"].before == "none"
    assert column(table, "MACs")["stem"].raw[0] == ""


def test_an_operation_is_timed_once_and_what_is_fused_with_it_names_it() -> None:
    rows = sample.layer_rows((4, 8, 16))
    times = sample.layer_times((4, 8, 16))
    took = [time for _, time in timed(rows, times) if time]
    assert [t.milliseconds for t in took if t.milliseconds is not None] == [t.milliseconds for t in times]
    assert {t.within for t in took if t.milliseconds is None} <= {t.layers[0] for t in times}
    again = LayerTime(layers=("stem", "stem"), kind="c", kernel="k", milliseconds=9.0)
    assert timed(rows[:1], (again,))[0][1] == (9.0, "")
    cell = column(table_of(), "Milliseconds")["bn"]
    assert (cell.before, cell.raw) == ("with stem", ("", ""))
