"""Ours and DeepSparse 1.8 in turns, the same zeros in both; engine.py --deepsparse starts it.

    python benchmarks/deepsparse_peer.py NET.wieldy NET.onnx BATCH THREADS PYTHON

DeepSparse is no longer kept and wants an older numpy, so it serves from a venv of its own, whose Python is
named:

    python3.11 -m venv ds && ds/bin/pip install "deepsparse==1.8.0" "numpy<2" "setuptools<70"

Each line sent to it is a number of calls; it answers with milliseconds per call, timed over there, while ours
waits. Prints the paired ratio of ours over DeepSparse's, and the latter's milliseconds.
"""

import json
import os
import subprocess
import sys
import time

ROUNDS = 20
SERVE = "--serve"


def serve() -> int:
    """Answer from inside the other venv, where there is no wieldy."""
    import deepsparse
    import numpy as np

    model, batch, threads = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    engine = deepsparse.compile_model(model, batch_size=batch, num_cores=threads)
    draw = np.random.default_rng(0)
    inputs = [draw.standard_normal(shape, np.float32) for shape in engine.input_shapes]
    for line in sys.stdin:
        count, begin = int(line), time.perf_counter()
        for _ in range(count):
            engine.run(inputs)
        print(json.dumps((time.perf_counter() - begin) * 1e3 / count), flush=True)
    return 0


def main() -> int:
    """Compare."""
    import numpy as np

    from wieldy.runtime.child import Side
    from wieldy.runtime.timing import BLOCK_SECONDS, in_turns, paired_ratio

    package, model, batch, threads, python = sys.argv[1:6]
    run = Side(package, "f32", int(threads)).runner(int(batch))
    command = [python, __file__, SERVE, model, batch, threads]
    environment = os.environ | {"NM_DISABLE_ANALYTICS": "True"}
    environment.pop("PYTHONPATH", None)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as peer:  # type: ignore[call-overload]

        def theirs(count: int) -> float:
            peer.stdin.write(f"{count}\n")
            peer.stdin.flush()
            return float(json.loads(peer.stdout.readline()))

        def ours(count: int) -> float:
            begin = time.perf_counter()
            for _ in range(count):
                run()
            return (time.perf_counter() - begin) * 1e3 / count

        counts = [max(1, round(BLOCK_SECONDS * 1e3 / side(10))) for side in (theirs, ours)]
        times = in_turns(lambda: theirs(counts[0]), lambda: ours(counts[1]), ROUNDS)
        peer.stdin.close()
    answer = {"ratio": paired_ratio(times).model_dump(), "milliseconds": float(np.median(times[:, 0]))}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(serve() if sys.argv[1] == SERVE else main())
