"""Plans are tried by training and timing: each worker does so on a core of its own."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def alone(own_core: None) -> None:
    """Nothing more."""
