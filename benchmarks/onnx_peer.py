"""Ours and ONNX Runtime in turns, in a process without torch; engine.py starts it.

    python benchmarks/onnx_peer.py NET.onnx BATCH THREADS NET.wieldy [NET.wieldy ...]

Prints the milliseconds of each round: ONNX Runtime's, then those of the packages. Its threads stop spinning
when a call ends, as they would take a core from ours.
"""

import json
import sys

import numpy as np
import onnxruntime

from wieldy.core import rng
from wieldy.runtime.child import Side
from wieldy.runtime.timing import ROUNDS, time_turns


def main() -> int:
    """Compare."""
    model, batch, threads, packages = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    draw = rng.generator(0, "timing inputs")
    feed = {port.name: draw.standard_normal(port.shape, np.float32) for port in session.get_inputs()}
    ours = [Side(package, "f32", threads).runner(batch) for package in packages]
    print(json.dumps(time_turns([lambda: session.run(None, feed), *ours], ROUNDS).tolist()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
