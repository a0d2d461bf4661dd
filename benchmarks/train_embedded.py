"""Train the embedded network on the 58,000 pictures and store it with its card.

    python benchmarks/train_embedded.py [--epochs 24] [--precision bf16] [--folder FASHION_FOLDER]

Writes residual28.safetensors and residual28.json into the package.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save as save_tensors

from wieldy.cli.terminal import Lines
from wieldy.core import digest
from wieldy.core.files import write_atomic
from wieldy.core.rng import derive
from wieldy.train.augment import flip_and_shift
from wieldy.train.fit import FitConfig, evaluate, fit
from wieldy.zoo.data import fashion
from wieldy.zoo.networks import residual


def main() -> None:
    """Train, judge on the publisher's test set, and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="bf16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(2)
    data = fashion.full(asked.folder)
    config = FitConfig(
        epochs=asked.epochs, learning_rate=0.1, weight_decay=1e-3, precision=asked.precision, seed=asked.seed
    )
    torch.manual_seed(derive(asked.seed, "embedded", "weights"))
    start = residual.Residual28()
    trained = fit(start, data, config=config, augment=flip_and_shift(28, 28), progress=Lines())
    accuracy = evaluate(trained, data.test, data)
    tensors = {name: value.contiguous() for name, value in trained.state_dict().items()}
    weights = save_tensors(tensors)
    card = {
        "sha256": digest.of_bytes(weights),
        "accuracy_test_10000": round(accuracy, 4),
        "accuracy_validate_2000": round(evaluate(trained, data.validate, data), 4),
        "parameters": sum(p.numel() for p in trained.parameters()),
        "command": "python " + " ".join(["benchmarks/train_embedded.py", *sys.argv[1:]]),
        "config": config.model_dump(),
        "torch": torch.__version__,
        "data": "Fashion-MNIST, 58,000 training pictures (MIT, (c) 2017 Zalando SE)",
        "licence": "Apache-2.0",
    }
    folder = Path(residual.__file__).parent
    write_atomic(folder / residual.WEIGHTS, weights)
    write_atomic(folder / residual.CARD, (json.dumps(card, indent=2) + "\n").encode())
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
