"""What tests of whole runs share."""

from collections.abc import Iterator

import pytest

from wieldy.runtime.measure import measure


@pytest.fixture(scope="module")
def one_process() -> Iterator[None]:
    """Figures of one process instead of six, where a test does not depend on how sure they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(measure.__kwdefaults__, "processes", 1)
        yield
