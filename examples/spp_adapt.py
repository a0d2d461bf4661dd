"""A network that knows clothes learns digits, and loses seven tenths of its columns on the way.

python examples/spp_adapt.py
"""

import numpy as np
import torch

import wieldy
from wieldy.core.records import Change
from wieldy.methods.prune.spp import Spp, SppConfig
from wieldy.train.fit import FitConfig, evaluate
from wieldy.zoo.data.digits import optical_digits
from wieldy.zoo.data.fashion import embedded
from wieldy.zoo.networks.lenet import Lenet5, seeded


def enlarged(pictures: np.ndarray) -> np.ndarray:
    """Map pictures (n, 1, 8, 8) to (n, 1, 28, 28): each pixel three by three, and a border."""
    return np.pad(
        np.kron(pictures, np.ones((3, 3), np.float32)), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge"
    )


source, digits = embedded(), optical_digits()
task = wieldy.Data(
    *((enlarged(part.inputs), part.targets) for part in (digits.train, digits.validate, digits.test))
)
knows_clothes = wieldy.fit(seeded(Lenet5, 0), source, config=FitConfig(epochs=6, learning_rate=0.03))
network = wieldy.trace(knows_clothes, torch.zeros(1, 1, 28, 28))
torch.nn.init.normal_(network.tensor("fc2.weight"), std=0.01, generator=torch.Generator().manual_seed(0))

how = FitConfig(epochs=10, learning_rate=0.02)
hook = Spp(SppConfig(ratio=0.7))  # columns of every layer but the first
adapted, pruned = wieldy.fit(network, task, config=how), wieldy.fit(network, task, hook, config=how)
for name, result in (("adapted", adapted), ("adapted and pruned", pruned)):
    print(f"{name}: {evaluate(result, task.test, task):.1%} of the test digits")
for record in hook.records():
    print(record.layer, record.after if isinstance(record, Change) else record.reason)
names = [record.layer for record in hook.records() if isinstance(record, Change)]
path = wieldy.save(pruned, "digits.wieldy", formats={f"{name}.weight": "csr" for name in names})
print(f"{path}: {path.stat().st_size:,} bytes")
