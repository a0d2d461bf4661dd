"""The digit classifier that others trained: found, checked, and as accurate as its makers say."""

import pytest
import torch

from wieldy.core import digest
from wieldy.core.errors import DataError, DigestError
from wieldy.train.fit import evaluate
from wieldy.zoo.data import mnist
from wieldy.zoo.networks import digits28


def test_weights_that_are_not_there_name_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("WIELDY_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="`make data` fetches it"):
        digits28.digits28()


def test_other_weights_than_the_published_are_refused_before_they_are_read(tmp_path):
    (tmp_path / digits28.WEIGHTS).write_bytes(b"not a pickle")
    with pytest.raises(DigestError, match="SHA-256 must be"):
        digits28.digits28(tmp_path)


def test_weights_are_read_into_the_layers_of_their_names(tmp_path, monkeypatch):
    torch.manual_seed(0)
    wanted = digits28.Digits28()
    torch.save(wanted.state_dict(), tmp_path / digits28.WEIGHTS)
    monkeypatch.setattr(digits28, "SHA256", digest.of_file(tmp_path / digits28.WEIGHTS))
    found = digits28.digits28(tmp_path)
    assert not found.training
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(found(x), wanted(x))


def test_the_published_weights_name_99_06_percent_of_mnist():
    try:
        network, data = digits28.digits28(), mnist.full()
    except DataError as error:
        pytest.skip(str(error))
    assert evaluate(network, data.test, data) == pytest.approx(0.9906, abs=1e-4)
