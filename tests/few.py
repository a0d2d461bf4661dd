"""Evidence from few examples, where a test is not about how sure figures are."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from wieldy.assure.checks import Checks


@contextmanager
def looking_at(**few: int) -> Iterator[None]:
    """So many examples are looked at by default: `looking_at(corruptions=2, attacks=0)`."""
    with pytest.MonkeyPatch.context() as patch:
        for name, examples in few.items():
            patch.setattr(Checks.model_fields[name], "default", examples)
        Checks.model_rebuild(force=True)
        assert Checks().model_dump(include=set(few)) == few
        yield
    Checks.model_rebuild(force=True)
