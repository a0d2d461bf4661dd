"""What tests of whole runs share: a core of their own, and figures that need not be sure."""

from collections.abc import Iterator

import pytest
from few import looking_at

from wieldy.runtime.measure import measure


@pytest.fixture(scope="module", autouse=True)
def few_examples(own_core: None) -> Iterator[None]:
    """Every kind of evidence that a run gathers is gathered here too, from next to nothing."""
    with looking_at(corruptions=1, attacks=1, outside=20, bounds=1):
        yield


@pytest.fixture(scope="module")
def one_process() -> Iterator[None]:
    """Figures of one process instead of six, where a test does not depend on how sure they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(measure.__kwdefaults__, "processes", 1)
        yield
