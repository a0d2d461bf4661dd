"""One thread for torch: small tensors gain nothing from more, and lose much on a machine that others use.

No run waits for a quiet machine, since that would be waiting for the tests that run beside it. Where no
kernels were built, the notice that zeros run as dense numbers is no error; elsewhere it is one.
"""

import os
import tempfile
from collections.abc import Iterator

import pytest
import torch

from wieldy.kernels.native import why_missing
from wieldy.runtime.measure import PATIENCE_OF_USER

torch.set_num_threads(1)
os.environ[PATIENCE_OF_USER] = "0"


def pytest_configure(config: pytest.Config) -> None:
    if why_missing():
        config.addinivalue_line("filterwarnings", "ignore:.*its zeros run as dense numbers:UserWarning")


@pytest.fixture(scope="module")
def own_core(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[None]:
    """Where tests run side by side: a core to each, which measures without waiting for the others."""
    if worker_id == "master" or not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = sorted(os.sched_getaffinity(0))
    core = {cores[int(worker_id.removeprefix("gw")) % len(cores)]}
    os.sched_setaffinity(0, core)
    with pytest.MonkeyPatch.context() as patch:
        # OpenVINO gives a thread back to all cores after an inference on several
        patch.setattr(os, "sched_getaffinity", lambda _: core)
        folder = str(tmp_path_factory.mktemp("locks"))
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield
    os.sched_setaffinity(0, cores)
