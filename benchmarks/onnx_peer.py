"""Ours and ONNX Runtime in turns, in a process without torch; engine.py starts it.

    python benchmarks/onnx_peer.py NET.wieldy NET.onnx BATCH THREADS

Prints the paired ratio of ours over ONNX Runtime's, and the latter's milliseconds. Its threads stop spinning
when a call ends, as they would take a core from ours.
"""

import json
import sys

import numpy as np
import onnxruntime

from wieldy.core import rng
from wieldy.runtime.child import Side
from wieldy.runtime.timing import paired_ratio, time_pairs

ROUNDS = 20


def main() -> int:
    """Compare."""
    package, model, batch, threads = *sys.argv[1:3], *map(int, sys.argv[3:])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    draw = rng.generator(0, "timing inputs")
    feed = {port.name: draw.standard_normal(port.shape, np.float32) for port in session.get_inputs()}
    times = time_pairs(lambda: session.run(None, feed), Side(package, "f32", threads).runner(batch), ROUNDS)
    answer = {"ratio": paired_ratio(times).model_dump(), "milliseconds": float(np.median(times[:, 0]))}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
