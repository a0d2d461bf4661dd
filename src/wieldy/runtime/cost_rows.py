"""What calibration finds, in the form in which a cost table is fitted: features and milliseconds."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from wieldy.graph.cost_table import features, work_of
from wieldy.graph.ops import CONV, LINEAR
from wieldy.graph.program import Program
from wieldy.runtime.profile import ChainTime

SPARSE_TERMS = 6
Rows = dict[str, list[tuple[NDArray[np.float64], float]]]


def add_layers(program: Program, times: Mapping[str, float], form: str, rows: Rows) -> None:
    """Add what each layer took by itself, by form and kind."""
    for node in program.nodes:
        if node.op in (CONV, LINEAR) and node.name in times:
            work = work_of(program, node)
            rows[f"{form}/{work.kind}"].append((features(form, work), times[node.name]))


def add_chains(program: Program, chains: Iterable[ChainTime], form: str, rows: Rows) -> None:
    """Add what layers took that run together, with the features of all of them."""
    for chain in chains:
        total = np.zeros((2, SPARSE_TERMS))  # of convolutions, of depthwise ones
        for node, kept in chain.layers:
            work = work_of(program, node)
            total[int(work.kind == "depthwise")] += features(form, work, kept)
        rows[form].append((total.ravel(), chain.milliseconds))
