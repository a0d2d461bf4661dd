"""Operations of two networks side by side."""

from wieldy.core.records import LayerTime
from wieldy.report.layers import pair_times


def took(milliseconds: float, *layers: str) -> LayerTime:
    return LayerTime(layers=layers, kind="Convolution", kernel="k", milliseconds=milliseconds)


def test_the_halves_of_a_factored_layer_stand_beside_the_whole() -> None:
    before = [took(2.0, "stem", "relu"), took(4.0, "deep", "relu_1"), took(1.0, "fc")]
    after = [
        took(2.0, "stem", "relu"), took(1.0, "deep.first"), took(0.5, "deep.second", "relu_1"),
        took(0.4, "fc.first"), took(0.3, "fc.second"),
    ]  # fmt: skip
    bars = {bar.name: (bar.original_ms, bar.package_ms) for bar in pair_times(before, after)}
    assert bars == {"stem": (2.0, 2.0), "deep": (4.0, 1.5), "fc": (1.0, 0.7)}


def test_layers_that_are_called_so_from_the_start_stay_apart() -> None:
    before = [took(1.0, "pair.first"), took(2.0, "pair.second"), took(3.0, "pair")]
    after = [took(0.5, "pair.first"), took(0.6, "pair.second"), took(0.7, "pair")]
    assert [(bar.name, bar.original_ms, bar.package_ms) for bar in pair_times(before, after)] == [
        ("pair.first", 1.0, 0.5), ("pair.second", 2.0, 0.6), ("pair", 3.0, 0.7),
    ]  # fmt: skip


def test_what_the_package_alone_does_comes_last() -> None:
    bars = pair_times([took(1.0, "a")], [took(1.0, "new"), took(0.5, "a")])
    assert [(bar.name, bar.original_ms) for bar in bars] == [("a", 1.0), ("new", None)]
