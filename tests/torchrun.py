"""Several processes of a test, as torchrun starts them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

SECONDS = 200
LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--standalone")


def begun(*command: object, world: int = 2, paths: tuple[Path, ...] = ()) -> subprocess.Popen[str]:
    """Start processes that read their modules from `paths`, too."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.Popen(
        [*LAUNCHER, f"--nproc-per-node={world}", *map(str, command)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=_interruptible,
    )  # fmt: skip


def ended(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait, and return the exit code and what was said; processes that hang are ended, too."""
    try:
        out, error = running.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        running.terminate()  # and not killed, which would leave its processes behind
        out, error = running.communicate(timeout=60)
        error += f"\nended after {SECONDS} s"
    return running.returncode, out, error


def _interruptible() -> None:
    """A shell that starts a job in the background has it ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
