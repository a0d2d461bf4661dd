"""One thread for torch: small tensors gain nothing from more, and lose much on a machine that others use.

Where no kernels were built, the notice that zeros run as dense numbers is no error; elsewhere it is one.
"""

import pytest
import torch

from wieldy.kernels.native import why_missing

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    if why_missing():
        config.addinivalue_line("filterwarnings", "ignore:.*its zeros run as dense numbers:UserWarning")
