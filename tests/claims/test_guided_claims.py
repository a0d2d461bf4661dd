"""Pruning that asks no model is found out, and so is a kernel that leaves numbers out."""

from dataclasses import replace

import numpy as np
from torch import nn

from wieldy.claims import guided, sparsecnn
from wieldy.graph.cost_table import CostTable
from wieldy.graph.network import need_traced
from wieldy.kernels.region.ops import Conv
from wieldy.methods.contract import Hook
from wieldy.methods.prune.guided import GuidedConfig
from wieldy.methods.prune.zeros import ZerosConfig, apply
from wieldy.stats.collect import Stats


class Everywhere(Hook):
    """Half of the weights of every layer, by magnitude."""

    def finish(self, network: nn.Module) -> None:
        traced = need_traced(network, "Everywhere")
        list(apply(traced, traced.program.weighted_layers(), Stats(), ZerosConfig(sparsity=0.5)))


def unguided(config: GuidedConfig, table: CostTable) -> Hook:
    return Everywhere()


def test_pruning_that_asks_no_model_is_refuted() -> None:
    verdicts = {claim.what: claim.verdict for claim in guided.behaviour(unguided)}
    assert verdicts["zeros in layers that the model excludes"] == "refuted"
    assert verdicts["layers that end in their band"] == "refuted"
    assert verdicts["zeros in a layer that stalls above its band"] == "refuted"


def without_small_weights(x: np.ndarray, op: Conv) -> np.ndarray:
    kept = np.where(np.abs(op.values) < 0.1, 0, op.values).astype(np.float32)
    return sparsecnn.compiled(x, replace(op, values=kept))


def test_a_kernel_that_leaves_small_weights_out_is_refuted() -> None:
    assert sparsecnn.equality(sparsecnn.compiled).verdict == "proved"
    assert sparsecnn.equality(without_small_weights).verdict == "refuted"


def test_a_model_that_does_not_follow_its_times_is_refuted() -> None:
    draw = np.random.default_rng(0)
    features = draw.random((5, 8, 12)) + 0.1
    times = features.sum(2)
    fits = sparsecnn.predicted(features, times, float(times[2].sum()))
    assert fits[0].verdict == "proved"
    wild = times.copy()
    wild[1::2] *= 5
    assert sparsecnn.predicted(features, wild, float(times[2].sum()))[0].verdict == "refuted"
