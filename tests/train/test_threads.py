"""Threads are given back."""

import pytest
import torch

from wieldy.train.threads import torch_threads


def fails_with(threads: int) -> None:
    with torch_threads(threads):
        assert torch.get_num_threads() == threads
        raise ZeroDivisionError


def test_as_many_threads_as_before_compute_afterwards_whatever_happens() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        fails_with(before + 1)
    assert torch.get_num_threads() == before
