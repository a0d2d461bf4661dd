"""What tests of whole runs share."""

from collections.abc import Iterator

import pytest

from wieldy.runtime.measure import Quiet, measure


@pytest.fixture(autouse=True, scope="module")
def no_waiting() -> Iterator[None]:
    """Waiting for a quiet machine would be waiting for the tests that run beside these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Quiet, "disturbed", lambda *_: False)
        yield


@pytest.fixture(scope="module")
def one_process() -> Iterator[None]:
    """Figures of one process instead of six, where a test does not depend on how sure they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(measure.__kwdefaults__, "processes", 1)
        yield
