"""The embedded network is the published one and as good as its card says."""

from pathlib import Path

import pytest
import torch

from wieldy.core.errors import DigestError
from wieldy.train.fit import evaluate
from wieldy.zoo.data.fashion import embedded
from wieldy.zoo.networks import residual


def test_the_card_promises_at_least_93_percent_on_the_publishers_test_set() -> None:
    assert float(str(residual.card()["accuracy_test_10000"])) >= 0.93


def test_the_embedded_network_is_as_good_on_the_embedded_test_pictures_as_its_card_says() -> None:
    data = embedded()
    network = residual.residual28()
    assert sum(p.numel() for p in network.parameters()) == residual.card()["parameters"]
    promised = float(str(residual.card()["accuracy_test_10000"]))
    assert abs(evaluate(network, data.test, data) - promised) < 0.01  # two standard errors of 3,000 pictures


def test_changed_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(residual, "card", lambda: {"sha256": "0" * 64})
    with pytest.raises(DigestError, match="was changed"):
        residual.residual28()


def test_widths_are_free() -> None:
    assert residual.Residual28((8, 16, 24))(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
