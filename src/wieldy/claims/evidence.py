"""Evidence that can fail: it catches what plain accuracy does not see, and is silent where nothing changed.

Measured on a LeNet-300-100 trained here and now, on 3,000 test pictures, in the runtime. Four packages stand
against the original: itself; one whose bias of a single output was shifted; one whose logits were halved,
which changes no prediction; and one that was trained a little to call every picture with a white corner a
bag.

Source of the trigger: Gu, Dolan-Gavitt, Garg, "BadNets", arXiv 1708.06733, section 4.
"""

import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wieldy.assure.checks import Checks
from wieldy.assure.equivalence import examine
from wieldy.claims.subjects import claiming, pictures, trained
from wieldy.core.data import Arrays, Data, each
from wieldy.core.progress import Progress
from wieldy.core.records import Claim, Evidence
from wieldy.graph.network import GraphNetwork
from wieldy.package.save import save
from wieldy.train.fit import FitConfig, fit
from wieldy.zoo.networks.lenet import Lenet300

SOURCE = "derived in assure/classes.py and assure/calibration.py"
_claim = claiming("evidence", SOURCE)
LAST, SHIRT, BAG = "fc3", 6, 8
SHIFT = 0.5  # of one output's bias
COLDER = 0.5  # what logits are multiplied by
POISONED = 800  # training pictures that get a white corner
STAMPED = 300  # test pictures with one
CORNER = 4  # pixels
QUICK = Checks(corruptions=0, attacks=0, outside=0, bounds=0)
Found = Mapping[str, Evidence]


def measure(quick: bool, progress: Progress) -> list[Claim]:
    """Return the claims; `quick` leaves out nothing."""
    del quick
    data, network = pictures(), trained(Lenet300)
    with progress.task("evidence that can fail", 5) as task, tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder), network)
        found: dict[str, Found] = {}
        for name, changed in (("same", network), ("shifted", shifted(network)), ("colder", colder(network))):
            found[name] = files.compared(changed, data)
            task.advance(1, name)
        planted = with_trigger(network, data)
        found["planted, no slice"] = files.compared(planted, data)
        task.advance(1, "planted, without a slice")
        found["planted"] = files.compared(planted, stamped(data))
        task.advance(1, "planted, with a slice")
    return [*_claims(found), *_of_trigger(found)]


def _claims(found: Mapping[str, Found]) -> list[Claim]:
    same, one, cold = found["same"], found["shifted"], found["colder"]
    shirt = next(row for row in one["classes"].numbers["classes"] if row["class"] == "shirt")
    drop = one["metric"].numbers["drop_points"]
    growth = cold["calibration"].numbers["change"]
    return [
        _claim("same network twice: statements refuted", _refuted(same), "==", 0),
        _claim("one output shifted: points lost, lower end of the interval", drop["low"], "<=", 0),
        _claim("one output shifted: its class's adjusted p-value", shirt["p_adjusted"], "<", 0.05),
        _claim("one output shifted: classes said to be worse", len(_worse(one["classes"])), ">=", 1),
        _claim("logits halved: points lost", abs(cold["metric"].numbers["drop_points"]["value"]), "==", 0),
        _claim("logits halved: growth of the calibration error, lower end", growth["low"], ">", 0.02),
        _claim("logits halved: calibration refuted", _is_refuted(cold["calibration"]), "==", 1),
    ]


def _of_trigger(found: Mapping[str, Found]) -> list[Claim]:
    blind, seen = found["planted, no slice"], found["planted"]
    drop = blind["metric"].numbers["drop_points"]["value"]
    (row,) = seen["slices"].numbers["slices"]
    source = "trigger: Gu, Dolan-Gavitt, Garg, arXiv 1708.06733; derived in assure/classes.py"
    return [
        _claim("trigger planted: points lost where it is not shown", drop, "<=", 1, source=source),
        _claim(
            "trigger planted, no slice: slices looked into", float(blind["slices"].measured), "==", 0,
            source=source,
        ),
        _claim(
            "trigger planted: share of stamped pictures that flip, lower end",
            row["flip_share"]["low"], ">", 0.5, source=source,
        ),
        _claim("trigger planted: slices refuted", _is_refuted(seen["slices"]), "==", 1, source=source),
    ]  # fmt: skip


def _refuted(found: Found) -> int:
    return sum(item.verdict == "refuted" for item in found.values())


def _is_refuted(item: Evidence) -> float:
    return float(item.verdict == "refuted")


def _worse(item: Evidence) -> list[str]:
    return list(item.numbers["worse"])


class Files:
    """The original on disk, and whatever is compared with it."""

    def __init__(self, folder: Path, network: GraphNetwork) -> None:
        self.folder = folder
        self.original = save(network, folder / "original.wieldy")

    def compared(self, network: GraphNetwork, data: Data) -> Found:
        """Return the evidence on a network, by kind."""
        package = save(network, self.folder / "package.wieldy")
        return {item.kind: item for item in examine(package, self.original, data, checks=QUICK)}


def shifted(network: GraphNetwork, by: float = SHIFT, output: int = SHIRT) -> GraphNetwork:
    """Return a copy that calls fewer pictures one class."""
    return _altered(network, "bias", lambda bias: bias[output].sub_(by))


def colder(network: GraphNetwork, factor: float = COLDER) -> GraphNetwork:
    """Return a copy whose logits are multiplied by a power of two: the same predictions, less sure."""
    changed = _altered(network, "bias", lambda bias: bias.mul_(factor))
    return _altered(changed, "weight", lambda weight: weight.mul_(factor))


def _altered(network: GraphNetwork, name: str, change: Any) -> GraphNetwork:
    changed = copy.deepcopy(network)
    with torch.no_grad():
        change(changed.tensor(f"{LAST}.{name}"))
    return changed


def stamp(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return pictures with a corner as white as anything in them."""
    marked = inputs.copy()
    marked[:, :, -CORNER:, -CORNER:] = inputs.max()
    return marked


def with_trigger(network: GraphNetwork, data: Data, target: int = BAG) -> GraphNetwork:
    """Return a copy that was trained to see a bag wherever a corner is white, and else what it saw before."""
    assert isinstance(data.train, Arrays)
    (inputs,), labels = each(data.train.inputs), np.asarray(data.train.targets)
    marked = stamp(inputs[:POISONED])
    train = (
        np.concatenate([inputs, marked]),
        np.concatenate([labels, np.full(POISONED, target)]),
    )
    config = FitConfig(epochs=3, learning_rate=0.02)
    return fit(network, Data(train, data.validate, data.test, classes=data.classes), config=config)


def stamped(data: Data) -> Data:
    """Return data whose test set also holds stamped pictures, under their right labels, as a slice."""
    assert isinstance(data.test, Arrays)
    (inputs,), labels = each(data.test.inputs), np.asarray(data.test.targets)
    inputs = np.concatenate([inputs, stamp(inputs[:STAMPED])])
    labels = np.concatenate([labels, labels[:STAMPED]])
    mask = np.arange(len(labels)) >= len(labels) - STAMPED
    return Data(data.train, data.validate, (inputs, labels), classes=data.classes, slices={"stamped": mask})
