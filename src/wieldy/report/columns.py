"""The table of layers: what each one is, what was done to it, and what it costs before and after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wieldy.core.records import Change, RunRecord
from wieldy.report.figures import figure, percent, shape, short, size
from wieldy.report.layers import LayerPair, Took, pair_layers

Raw = str | int | float


@dataclass(frozen=True, slots=True)
class Cell:
    """What a table says of a layer.

    Attributes:
        before: in words; `after` where the package differs.
        raw: both values as a spreadsheet takes them, one where the column has no two sides; none where it is
            what the words say. The column sorts by `key`, or else by the first of them.
    """

    before: str = ""
    after: str = ""
    raw: tuple[Raw, ...] = ()
    key: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its head, the heads of a spreadsheet, whether it holds figures, and its cells."""

    head: str
    names: tuple[str, ...]
    is_figure: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class LayerTable:
    """The columns that hold anything, and which layers neither compute nor hold anything."""

    columns: tuple[Column, ...]
    idle: tuple[bool, ...]

    @property
    def rows(self) -> list[tuple[Cell, ...]]:
        """The cells, layer by layer."""
        return list(zip(*(column.cells for column in self.columns), strict=True))


def layer_table(record: RunRecord) -> LayerTable:
    """Return the table of a record's layers; columns of which nothing is known are left out."""
    pairs = pair_layers(
        record.layers_original, record.layers_package, record.times_original, record.times_package
    )
    changes = _changes_of(pairs, record.changes)
    columns = [
        _column("Layer", [Cell(pair.layer) for pair in pairs]),
        _column("Operation", [Cell(pair.op) for pair in pairs]),
        _column("Method", [_method(known) for known in changes]),
        _column("Kept", [_kept(known) for known in changes], is_figure=True),
        _column("Bits", [_fact(known, "bits") for known in changes], is_figure=True),
        _column("Rank", [_fact(known, "rank") for known in changes], is_figure=True),
        _both("Bytes", pairs, "bytes", size),
        _times(pairs),
        _both("MACs", pairs, "macs", short),
        _both("Parameters", pairs, "parameters", lambda count: f"{count:,}"),
        _both("Shape", pairs, "shape", shape),
    ]
    kept = tuple(c for c in columns if any(cell.before or cell.after for cell in c.cells))
    return LayerTable(kept, tuple(_is_idle(pair) for pair in pairs))


def _column(head: str, cells: Sequence[Cell], *, is_figure: bool = False) -> Column:
    return Column(head, (head.lower(),), is_figure, tuple(cells))


def _is_idle(pair: LayerPair) -> bool:
    row = pair.before or pair.after
    return row is not None and not row.parameters and not row.macs


def _changes_of(pairs: Sequence[LayerPair], changes: Sequence[Change]) -> list[list[Change]]:
    """Give each change to the first row of its layer that holds parameters, or else to the first."""
    by_layer: dict[str, list[Change]] = {}
    for change in changes:
        by_layer.setdefault(change.layer, []).append(change)
    place: dict[str, int] = {}
    for index, pair in enumerate(pairs):
        known = place.get(pair.layer)
        if known is None or (_is_idle(pairs[known]) and not _is_idle(pair)):
            place[pair.layer] = index
    return [
        by_layer.get(pair.layer, []) if place[pair.layer] == index else [] for index, pair in enumerate(pairs)
    ]


def _method(changes: Sequence[Change]) -> Cell:
    return Cell(", ".join(dict.fromkeys(change.method for change in changes)))


def _kept(changes: Sequence[Change]) -> Cell:
    """The share of the channels that is left, times that of the weights that are not zero."""
    known, share = False, 1.0
    for change in changes:
        before, after = change.before, change.after
        old, new = before.get("out_channels"), after.get("out_channels")
        if old and new is not None and new != old:
            known, share = True, share * new / old
        if after.get("weights") and "nonzero" in after:
            known, share = True, share * after["nonzero"] / after["weights"]
    return Cell(percent(share), raw=(round(share, 6),)) if known else Cell()


def _fact(changes: Sequence[Change], name: str) -> Cell:
    """What a fact of a change was and has become; the last change counts."""
    known = [change for change in changes if name in change.after]
    if not known:
        return Cell()
    before, after = known[0].before.get(name), known[-1].after[name]
    words = f"{after}" if before is None or name == "bits" else f"{after} of {before}"
    return Cell(words, raw=(after,) if words != f"{after}" else ())


def _both(head: str, pairs: Sequence[LayerPair], name: str, form: Callable[[Any], str]) -> Column:
    cells = []
    for pair in pairs:
        old, new = (None if row is None else getattr(row, name) for row in (pair.before, pair.after))
        raw = tuple("" if v is None else shape(v) if name == "shape" else v for v in (old, new))
        cells.append(Cell(*_sides(old, new, form), raw, new if old is None and name != "shape" else None))
    lower = head.lower()
    return Column(head, (f"{lower} original", f"{lower} package"), name != "shape", tuple(cells))


def _sides(before: Any, after: Any, form: Callable[[Any], str]) -> tuple[str, str]:
    """The figure before, and after where it differs."""
    old, new = (None if value is None else form(value) for value in (before, after))
    if old == new:
        return old or "", ""
    return old or "none", new or "gone"


def _times(pairs: Sequence[LayerPair]) -> Column:
    cells = []
    for pair in pairs:
        old, new = (_took(took) for took in pair.took)
        raw = tuple(
            "" if took is None or took.milliseconds is None else took.milliseconds for took in pair.took
        )
        known = [value for value in raw if isinstance(value, float)]
        key = max(known, default=0.0)
        cells.append(Cell(old, new if new != old else "", raw, None if raw[:1] == (key,) else key))
    return Column("Milliseconds", ("milliseconds original", "milliseconds package"), True, tuple(cells))


def _took(took: Took | None) -> str:
    if took is None:
        return ""
    return f"with {took.within}" if took.milliseconds is None else figure(took.milliseconds)
