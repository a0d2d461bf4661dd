"""The table of what evidence claims, from what `examine` says of one network that was saved twice."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from measured import table
from torch import nn

import wieldy
from wieldy.assure.checks import Checks
from wieldy.assure.equivalence import examine
from wieldy.core.data import Metric
from wieldy.core.records import Evidence

NOTHING_CLOSER = Checks(corruptions=0, attacks=0, outside=0, bounds=0)  # what they claim is said all the same
DISTANCE = Metric(name="distance", labels=False, scores=lambda out, to: abs(out - to).mean(axis=1))


def evidence_kinds() -> str:
    """Every kind of evidence with what it claims: where targets are class labels, and where they are not."""
    of_labels, of_others = _of_labels(), _of_others()
    rows = []
    for kind in dict.fromkeys((*of_labels, *of_others)):
        found = of_labels.get(kind) or of_others[kind]
        where = ["labels"] * (kind in of_labels) + ["anything else"] * (kind in of_others)
        rows.append([f"`{kind}`", found.claim, ", ".join(where), "; ".join(found.assumptions)])
    return table(["kind", "what is claimed", "where targets are", "assuming"], rows)


def _of_labels() -> dict[str, Evidence]:
    inputs, targets = np.eye(4, dtype=np.float32), np.arange(4) % 3
    part = (inputs, targets)
    return dict(_examined(wieldy.Data(part, part, part, slices={"first": targets == 0})))


def _of_others() -> dict[str, Evidence]:
    part = (np.eye(4, dtype=np.float32), np.zeros((4, 3), np.float32))
    first = np.arange(4) == 0
    found = dict(_examined(wieldy.Data(part, part, part, metric=DISTANCE, slices={"first": first})))
    return {kind: item for kind, item in found.items() if item.measured}


def _examined(data: wieldy.Data) -> Iterator[tuple[str, Evidence]]:
    with TemporaryDirectory() as folder:
        path = wieldy.save(wieldy.trace(nn.Linear(4, 3), torch.zeros(1, 4)), Path(folder) / "net.wieldy")
        for item in examine(path, path, data, checks=NOTHING_CLOSER):
            yield item.kind, item
