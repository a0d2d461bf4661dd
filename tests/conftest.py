"""One thread for torch: small tensors gain nothing from more, and lose much on a machine that others use.

No run waits for a quiet machine, since that would be waiting for the tests that run beside it. Where no
kernels were built, the notice that zeros run as dense numbers is no error; elsewhere it is one.
"""

import os

import pytest
import torch

from wieldy.kernels.native import why_missing
from wieldy.runtime.measure import PATIENCE_OF_USER

torch.set_num_threads(1)
os.environ[PATIENCE_OF_USER] = "0"


def pytest_configure(config: pytest.Config) -> None:
    if why_missing():
        config.addinivalue_line("filterwarnings", "ignore:.*its zeros run as dense numbers:UserWarning")
