"""Whole numbers of eight bits, after training: weights by row, values by range.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018, sections 2.1 and 3 (affine levels r = S (q - Z), ranges that hold zero exactly);
symmetric weights with a scale for each channel as in the TFLite specification. Bias correction: Nagel et
al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2, with
measured input means.

Ours: ranges that minimise an error over a histogram, each end for itself. The error is |r - r'|^1.5 or its
square: with squares few large numbers decide, and the many small ones lose their levels. Neither is right for
all (benchmarks/ranges.py). On 2,000 crops, MobileNetV2 of ImageNet in eight bits agreed with float32 on 79 %
at 1.5, on 77 % with squares and on 69 % with ranges that hold everything; sentences of MiniLM, whose few
large numbers carry meaning, kept a cosine of 0.91, 0.99 and 0.99. So compress/quantize.py tries them on the
examples. Scales of weights that minimise such errors gained nothing (MobileNetV2 in seven bits: 75.0 to
76.0 %, and 75.8 % with each row's largest). Scales of 16 significant bits, see formats/integer.py. Seven bits
of weight are exact on CPUs whose byte products saturate (no VNNI).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wieldy.core.errors import ConfigError
from wieldy.core.records import Change, Refused
from wieldy.formats import FORMATS
from wieldy.formats.integer import IntegerFormat, rounded_scales
from wieldy.graph.fake_quantize import Levels, rounded_values, with_levels
from wieldy.graph.fold import fold_norms
from wieldy.graph.network import GraphNetwork
from wieldy.graph.ops import LINEAR, WEIGHTED
from wieldy.graph.program import Node, Program, Ref, Spec, Stored
from wieldy.methods.contract import MethodConfig
from wieldy.runtime.integers import SATURATING
from wieldy.stats.collect import Stats
from wieldy.stats.ranges import ValueRange

NAME = "integer"
LEVELS = 255
SHRINKS = np.linspace(0.05, 1.0, 96).tolist()
SWEEPS = 2
LevelsOf = Callable[[float, float], Levels]
RangeRule = Literal["error", "squares", "minmax", "percentile"]
EXPONENTS = {"error": 1.5, "squares": 2.0}  # of what a range shall lose least


class IntegerConfig(MethodConfig):
    """How ranges are chosen, and how many bits a weight has."""

    weight_bits: Literal[7, 8] = 8
    ranges: RangeRule | None = (
        None  # None: what `quantize` finds best on its examples; "error" in `apply` alone
    )
    symmetric: Literal["inputs", "all", "none"] = "inputs"  # which values with both signs have zero point 0
    percentile: float = Field(default=99.99, gt=50, le=100)  # of the numbers that a range holds
    bias_correction: bool = True
    keep: tuple[str, ...] = ()  # layers that stay in float32

    @classmethod
    def fitting(cls, tier: str) -> Self:
        """Return the settings whose weights are multiplied in eight bits on a tier, whatever they are.

        Example:
            >>> IntegerConfig.fitting("avx2").weight_bits, IntegerConfig.fitting("amx").weight_bits
            (7, 8)
        """
        return cls(weight_bits=7 if tier in SATURATING else 8)


def affine_levels(least: float, largest: float) -> Levels:
    """Return levels whose range holds [least, largest] and zero, zero exactly.

    S = (largest - least) / 255, Z = round(-least / S).

    Example:
        >>> affine_levels(-1.0, 1.55).zero_point, affine_levels(0.0, 127.5).scale
        (100, 0.5)
    """
    least, largest = min(0.0, least), max(0.0, largest)
    scale = (largest - least) / LEVELS
    if scale < np.finfo(np.float32).tiny:  # nothing that float32 could tell from zero
        scale = 1.0
    return Levels(float(np.float32(scale)), int(np.clip(np.rint(-least / scale), 0, LEVELS)))


def symmetric_levels(least: float, largest: float) -> Levels:
    """Return levels -128 to 127 around zero whose range holds [least, largest]; affine where it has one sign.

    A zero point that is not zero has to be made up for in every sum, and wherever a convolution pads.

    Example:
        >>> symmetric_levels(-1.0, 254.0)
        Levels(scale=2.0, zero_point=0, least=-128, largest=127)
    """
    if least >= 0 or largest <= 0:
        return affine_levels(least, largest)
    scale = max(-least / 128, largest / 127)
    if scale < np.finfo(np.float32).tiny:
        scale = 1.0
    return Levels(float(np.float32(scale)), 0, -128, 127)


def histogram_error(
    counts: NDArray[np.int64], centres: NDArray[np.float64], levels: Levels, exponent: float
) -> float:
    """Return the sum of |error|^exponent of a histogram's numbers, each taken at the centre of its bin."""
    level = np.clip(np.rint(centres / levels.scale) + levels.zero_point, levels.least, levels.largest)
    return float(counts @ np.abs(levels.scale * (level - levels.zero_point) - centres) ** exponent)


def chosen_range(
    known: ValueRange, config: IntegerConfig, levels_of: LevelsOf = affine_levels
) -> tuple[float, float]:
    """Return the ends of the range that a value's levels, made by `levels_of`, shall span."""
    if config.ranges == "minmax" or known.counts is None:
        return known.least, known.largest
    edges = known.edges
    if config.ranges == "percentile":
        share = np.cumsum(known.counts) / known.counts.sum()
        outside = (100 - config.percentile) / 100
        ends = np.searchsorted(share, [outside, 1 - outside])
        return float(edges[ends[0]]) if known.least < 0 else known.least, float(edges[ends[1] + 1])
    exponent = EXPONENTS[config.ranges or "error"]
    centres = (edges[:-1] + edges[1:]) / 2
    return least_error_range(known.counts, centres, (known.least, known.largest), levels_of, exponent)


def chosen_levels(known: Sequence[ValueRange], config: IntegerConfig, *, is_input: bool) -> Levels:
    """Return the levels of values that share them; `is_input`: whether one is an input of the network."""
    symmetric = config.symmetric == "all" or (config.symmetric == "inputs" and is_input)
    levels_of = symmetric_levels if symmetric else affine_levels
    ends = [chosen_range(of, config, levels_of) for of in known]
    return levels_of(min(low for low, _ in ends), max(high for _, high in ends))


def least_error_range(
    counts: NDArray[np.int64],
    centres: NDArray[np.float64],
    ends: tuple[float, float],
    levels_of: LevelsOf,
    exponent: float,
) -> tuple[float, float]:
    """Return the ends, drawn in together and then each for itself, whose levels lose least."""
    least, largest = min(0.0, ends[0]), max(0.0, ends[1])

    def best(candidates: list[tuple[float, float]]) -> tuple[float, float]:
        return min(candidates, key=lambda pair: histogram_error(counts, centres, levels_of(*pair), exponent))

    found = best([(least * part, largest * part) for part in SHRINKS])
    for _ in range(SWEEPS if least < 0 < largest else 0):
        found = best([(least * part, found[1]) for part in SHRINKS])
        found = best([(found[0], largest * part) for part in SHRINKS])
    return found


def rounded_weight(weight: NDArray[np.float32], form: IntegerFormat) -> NDArray[np.float32]:
    """Return (rows, ...) on the grid of a format: the nearest level of each row's own scale.

    Example:
        >>> rounded_weight(np.float32([[127.0, 1.4], [0.0, 0.0]]), IntegerFormat(8)).tolist()
        [[127.0, 1.0], [0.0, 0.0]]
    """
    top = np.abs(weight.reshape(len(weight), -1)).max(axis=1).astype(np.float64)
    scales = rounded_scales(np.where(top > 0, top / form.largest, 1.0)).astype(np.float64)
    by_row = scales.reshape(-1, *(1,) * (weight.ndim - 1))
    levels = np.clip(np.rint(weight / by_row), -form.largest, form.largest)
    return (levels * by_row).astype(np.float32)


def expected_shift(
    weight: NDArray[np.float32], rounded: NDArray[np.float32], means: NDArray[np.float64], groups: int
) -> NDArray[np.float64]:
    """Return by how much rounding lowers the mean of each output: (W - W') E[x], borders left out of account.

    Args:
        weight, rounded: (rows, inputs / groups, ...).
        means: (inputs,) of what the layer reads.
    """
    lost = (weight.astype(np.float64) - rounded).reshape(*weight.shape[:2], -1).sum(axis=2)
    of_group = np.split(lost, groups)
    return np.concatenate([part @ mean for part, mean in zip(of_group, np.split(means, groups), strict=True)])


def prepare(network: GraphNetwork, scope: Sequence[str]) -> dict[str, int]:
    """Fold the norms of a network, in place, and return the values whose ranges `apply` wants.

    With each comes the axis of its channels.

    Args:
        scope: layers that shall read levels.
    """
    network.rewrite(*fold_norms(network.program, network.arrays()), network.formats)
    program = network.program
    shared = rounded_values(program, [node.name for node in _layers(program, scope)])
    wanted = {member for members in shared.values() for member in members}
    wanted |= {next(node.refs()) for node in _layers(program, scope)}
    last = {next(node.refs()) for node in _layers(program, scope) if node.op == LINEAR}
    return {name: len(program.shape(name)) - 1 if name in last else 1 for name in wanted}


def apply(
    network: GraphNetwork, scope: Sequence[str], stats: Stats, config: IntegerConfig
) -> Iterator[Change | Refused]:
    """Round the weights of layers, and the values that they read; `prepare` comes before.

    Raises:
        ConfigError: `stats` has no ranges of what a layer reads.
    """
    program, arrays = network.program, network.arrays()
    form = FORMATS[f"int{config.weight_bits}"]
    assert isinstance(form, IntegerFormat)
    records: list[Change | Refused] = []
    done: list[Node] = []
    found = {node.layer: node for node in program.nodes if node.op in WEIGHTED}
    for layer in scope:
        reason = _reason(program, found.get(layer))
        if reason:
            records.append(Refused(layer=layer, method=NAME, reason=reason))
            continue
        done.append(found[layer])
        bits = {"bits": config.weight_bits}
        records.append(Change(layer=layer, method=NAME, before={"bits": 32}, after=bits, seed=config.seed))
    tensors = dict(program.tensors)
    nodes = {node.name: _rounded_layer(node, arrays, tensors, stats, form, config) for node in done}
    program = program.with_nodes(tuple(nodes.get(node.name, node) for node in program.nodes), tensors)
    levels = {}
    for value, members in rounded_values(program, list(nodes)).items():
        known = [_known(stats, member) for member in members]
        levels[value] = chosen_levels(known, config, is_input=value in program.inputs)
    formats = dict(network.formats) | {node.weight: f"int{config.weight_bits}" for node in done}
    network.rewrite(with_levels(program, levels), arrays, formats)
    yield from records


def _layers(program: Program, scope: Sequence[str]) -> list[Node]:
    return [node for node in program.nodes if node.layer in scope and not _reason(program, node)]


def _reason(program: Program, node: Node | None) -> str:
    """Say why a layer cannot be rounded, if it cannot."""
    if node is None:
        return "it is no convolution or linear layer of the network"
    if node.op not in WEIGHTED:
        return "it has no weights that are multiplied"
    if sum(node.weight in other.stored() for other in program.nodes) > 1:
        return "its weight serves several layers, whose inputs have ranges of their own"
    return ""


def _known(stats: Stats, value: str) -> ValueRange:
    if value not in stats.ranges:
        raise ConfigError(
            f"integer: needs the range of {value!r}. Use collect_ranges on what `prepare` returns."
        )
    return stats.ranges[value]


def _rounded_layer(
    node: Node,
    arrays: dict[str, NDArray[np.float32]],
    tensors: dict[str, Spec],
    stats: Stats,
    form: IntegerFormat,
    config: IntegerConfig,
) -> Node:
    """Round a layer's weight in place of `arrays`, and return it with a bias that makes up for the shift."""
    name, source, bias = node.weight, node.inputs["input"], node.inputs["bias"]
    assert isinstance(source, Ref)
    before = arrays[name]
    arrays[name] = rounded_weight(before, form)
    means = _known(stats, source.name).channel_means
    if not config.bias_correction or means is None:
        return node
    shift = expected_shift(before, arrays[name], means, node.groups)
    held = bias.name if isinstance(bias, Stored) else f"{name.removesuffix('weight')}bias"
    arrays[held] = (arrays.get(held, np.zeros(len(before), np.float32)) + shift).astype(np.float32)
    tensors[held] = Spec(arrays[held].shape, learned=True)
    return replace(node, inputs=dict(node.inputs) | {"bias": Stored(held)})
