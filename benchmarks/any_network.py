"""Any network: full-size networks traced, pruned, rounded, factored, opened without torch, and timed.

    python benchmarks/any_network.py [NAME ...] [--out benchmarks/results]

30 % of each group of channels, heads or hidden units go, the smallest first, and more where that leaves a
multiple of eight. What is saved is compared with torch at batch 1 and 3 in a process without torch. Nothing
is trained: the figures are of time and of equality, not of accuracy. Writes any-TIER.json, network by
network; a step that is refused is a cell with the reason; a package that is not equal to 1e-4 ends the run.
Needs the extras `bench` and `dev`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from full_size import FULL_SIZE, Inputs, build
from importance import commit
from run_saved import BATCHES
from torch import Tensor, nn

from wieldy.compress.apply import apply_plan
from wieldy.compress.quantize import quantize
from wieldy.core.errors import InputError, InternalError
from wieldy.core.files import write_atomic
from wieldy.core.records import Change, Plan, Refused
from wieldy.flow.state import prepared
from wieldy.graph.cost import total_macs, total_parameters
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.tensors import Values, all_of
from wieldy.graph.trace import trace
from wieldy.methods.factor.svd import SvdConfig
from wieldy.methods.prune.magnitude import MagnitudeConfig
from wieldy.methods.quantize.integer import IntegerConfig
from wieldy.package.save import save
from wieldy.plan.ranking import rank
from wieldy.plan.trials import factor_where_faster
from wieldy.runtime.environment import environment
from wieldy.runtime.measure import Subject, measure
from wieldy.runtime.session import usable_cores
from wieldy.runtime.tier import current_tier
from wieldy.stats.collect import Stats

SHARE, MULTIPLE = 0.3, 8
CALIBRATION, JUDGED = 16, 16
MOST = 1e-4  # relative error of what is saved
ROUNDS = 3  # in each process: what differs is processes


def main() -> None:
    """Measure what is asked for and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(FULL_SIZE))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    torch.set_num_threads(usable_cores())
    path = prepared(asked.out) / f"any-{current_tier()}.json"
    result: dict[str, Any] = {"environment": environment(usable_cores()), "networks": {}}
    if path.exists():
        result["networks"] = json.loads(path.read_text())["networks"]
    for name in asked.names:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            row = row_of(name, Path(folder))
        row |= {"seconds": time.monotonic() - start, "commit": commit()}
        result["networks"][name] = row
        print(json.dumps({name: row}, indent=1), flush=True)
        write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
    print(path)


def row_of(name: str, folder: Path) -> dict[str, Any]:
    """Return what was found of one network; a step that is refused leaves its reason."""
    model, inputs = build(name), FULL_SIZE[name].inputs
    start = time.monotonic()
    network = trace(model, inputs(1))
    row: dict[str, Any] = {
        "trace_seconds": time.monotonic() - start,
        "operators": len(network.program.nodes),
        "parameters": total_parameters(network.program),
        "macs": total_macs(network.program),
        "error": equality(network, model, inputs(max(BATCHES)), folder),
    }
    rival = Rival(save(network, folder / "original.wieldy"))
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "pruned": lambda: pruned(network, inputs(max(BATCHES)), rival),
        "int8": lambda: rounded(network, inputs, rival),
        "rank": lambda: factored(network, rival),
    }
    for step, done in steps.items():
        try:
            row[step] = done()
        except InputError as error:
            row[step] = {"refused": str(error)}
    return row


class Rival:
    """The original network, saved, and the batch that its first measurement chose."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.batch: int | None = None

    def against(self, small: GraphNetwork) -> dict[str, Any]:
        """Save a network in the formats that it has, and time it."""
        path = save(small, self.path.with_name("small.wieldy"), formats=dict(small.formats))
        timing = measure(Subject(self.path), Subject(path), batch=self.batch, rounds=ROUNDS)
        self.batch = timing.batch
        return timing.model_dump()


def pruned(network: GraphNetwork, inputs: Inputs, rival: Rival) -> dict[str, Any]:
    """Remove units, compare what is saved with torch, and time it."""
    small = apply_plan(network, Plan(method={"name": "magnitude"}, remove=smallest_units(network)))
    return {
        "groups": len(couple(network.program).groups),
        "parameters": total_parameters(small.program),
        "macs": total_macs(small.program),
        "error": equality(small, small, inputs, rival.path.parent),
        "timing": rival.against(small),
    }


def smallest_units(network: GraphNetwork) -> dict[str, tuple[int, ...]]:
    """Return, for each group, the units of the smallest magnitude that go."""
    order: dict[str, list[int]] = {}
    for group, unit in rank(network, Stats(), MagnitudeConfig()).order:
        order.setdefault(group, []).append(unit)
    removed = {}
    for group, units in order.items():
        keep = max(1, len(units) - round(SHARE * len(units)))
        keep = keep // MULTIPLE * MULTIPLE or keep
        removed[group] = tuple(sorted(units[: len(units) - keep]))
    return {group: units for group, units in removed.items() if units}


def rounded(network: GraphNetwork, inputs: Callable[[int], Inputs], rival: Rival) -> dict[str, Any]:
    """Round to eight bits; the cosine is that of its outputs and the float32 network's, on other inputs."""
    calibration = [tuple(value.numpy() for value in inputs(CALIBRATION // 2)) for _ in range(2)]
    small, records = quantize(network, calibration, IntegerConfig.fitting(current_tier()))
    given = inputs(JUDGED)
    with torch.no_grad():
        said, wanted = (flat(side(*given)) for side in (small, network))
    cosine = nn.functional.cosine_similarity(said, wanted, dim=1)
    return changed(records) | {
        "cosine": {"median": float(cosine.median()), "worst": float(cosine.min())},
        "timing": rival.against(small),
    }


def factored(network: GraphNetwork, rival: Rival) -> dict[str, Any]:
    """Factor the layers that are faster so here, at half of their numbers."""
    config = SvdConfig(weighted=False)
    small, records = factor_where_faster(network, Stats(), config, batch=rival.batch or 1)
    found = changed(records) | {"parameters": total_parameters(small.program)}
    return found | ({"timing": rival.against(small)} if found["layers"] else {})


def changed(records: Iterable[Change | Refused]) -> dict[str, int]:
    """Return how many layers were changed, and out of how many."""
    all_of_them = list(records)
    return {"layers": sum(isinstance(record, Change) for record in all_of_them), "of": len(all_of_them)}


def equality(network: GraphNetwork, wanted: nn.Module, inputs: Inputs, folder: Path) -> dict[str, float]:
    """Return, for each batch size, how far a saved network without torch is from one in torch."""
    package, source, target = folder / "saved.wieldy", folder / "in.npz", folder / "out.npz"
    save(network, package)
    np.savez(source, *(value.numpy() for value in inputs))
    script = Path(__file__).parent / "run_saved.py"
    subprocess.run([sys.executable, script, package, source, target], check=True)
    found, errors = np.load(target), {}
    for batch in BATCHES:
        with torch.no_grad():
            outputs = all_of(wanted(*(value[:batch] for value in inputs)))
        apart = [
            np.abs(found[f"{batch}.{index}"] - output.numpy()).max() / output.abs().max().item()
            for index, output in enumerate(outputs)
        ]
        errors[f"batch {batch}"] = float(np.max(apart))
        if not errors[f"batch {batch}"] <= MOST:
            raise InternalError(
                f"a saved network differs by {np.max(apart):.1e} from torch at batch {batch}."
            )
    return errors


def flat(output: Values) -> Tensor:
    """Return all outputs with one row for an example."""
    return torch.cat([value.flatten(1) for value in all_of(output)], 1)


if __name__ == "__main__":
    main()
