"""Run a saved package on arrays, without torch: `python benchmarks/run_saved.py PACKAGE IN.npz OUT.npz`.

The inputs are those of the largest batch; the outputs are kept for the first 1 and the first 3 of them.
"""

import sys

import numpy as np

from wieldy.runtime.session import open as open_package

BATCHES = (1, 3)


def main(package: str, source: str, target: str) -> None:
    """Run and write."""
    run = open_package(package)
    inputs = list(np.load(source).values())
    found = {}
    for batch in BATCHES:
        outputs = run(*(value[:batch] for value in inputs))
        for index, output in enumerate(outputs if isinstance(outputs, tuple) else (outputs,)):
            found[f"{batch}.{index}"] = output
    assert "torch" not in sys.modules
    np.savez(target, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
