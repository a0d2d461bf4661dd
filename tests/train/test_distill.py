"""Distillation: the penalty is T^2 KL, and the teacher only teaches."""

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax
from torch import nn

from wieldy.core.errors import ConfigError, ShapeError
from wieldy.methods.contract import Step
from wieldy.train.distill import Distill, divergence
from wieldy.train.fit import FitConfig, fit

SHORT = FitConfig(epochs=2, batch_size=64)


def step(inputs: torch.Tensor, outputs: torch.Tensor) -> Step:
    return Step(nn.Identity(), inputs, outputs, torch.zeros(len(inputs), dtype=torch.int64), 0, 1, 0.1)


def pictures(count: int = 8) -> torch.Tensor:
    return torch.from_numpy(tiny.digits().train.inputs[:count])


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), temperature=st.floats(0.5, 20), classes=st.integers(2, 12))
def test_reference_divergence_is_scipys(seed: int, temperature: float, classes: int) -> None:
    student, teacher = np.random.default_rng(seed).normal(0, 3, (2, 5, classes))
    found = divergence(torch.from_numpy(student), torch.from_numpy(teacher), temperature).item()
    p, q = softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1)
    assert found == pytest.approx(temperature**2 * rel_entr(p, q).sum(axis=1).mean(), rel=1e-6, abs=1e-9)
    assert found >= -1e-12


def test_reference_by_hand() -> None:
    # teacher (3/4, 1/4), student (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2)
    teacher, student = torch.tensor([[np.log(3.0), 0.0]]), torch.zeros(1, 2, dtype=torch.float64)
    wanted = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert divergence(student, teacher, 1.0).item() == pytest.approx(wanted, rel=1e-6)


def test_penalty_is_zero_where_the_student_says_what_the_teacher_says() -> None:
    teacher = tiny.trained()
    x = pictures()
    with torch.no_grad():
        same, other = teacher(x), tiny.traced()(x)
    hook = Distill(teacher)
    assert abs(hook.penalty(step(x, same)).item()) < 1e-6
    assert hook.penalty(step(x, other)).item() > 0.1


@settings(max_examples=20, deadline=None)
@given(shift=st.floats(-50, 50))
def test_a_constant_added_to_all_logits_changes_nothing(shift: float) -> None:
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert divergence(student + shift, teacher - shift, 4.0).item() == pytest.approx(
        divergence(student, teacher, 4.0).item()
    )


def test_weight_multiplies_the_penalty() -> None:
    x, teacher, outputs = pictures(), tiny.trained(), torch.zeros(8, 10)
    one, three = (Distill(teacher, weight=weight).penalty(step(x, outputs)).item() for weight in (1, 3))
    assert three == pytest.approx(3 * one)


def test_the_teacher_is_neither_trained_nor_altered() -> None:
    teacher = tiny.trained().train()
    before = tiny.state(teacher)
    hook = Distill(teacher)
    held = tiny.state(hook.teacher)
    fit(tiny.traced(), tiny.digits(), hook, config=SHORT)
    assert tiny.state(teacher) == before
    assert tiny.state(hook.teacher) == held
    assert teacher.training
    assert all(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.grad is None for parameter in hook.teacher.parameters())


def test_gradients_reach_the_student_alone() -> None:
    outputs = torch.zeros(8, 10, requires_grad=True)
    Distill(tiny.trained()).penalty(step(pictures(), outputs)).backward()
    assert outputs.grad is not None
    assert outputs.grad.abs().sum() > 0


def test_a_numpy_teacher_teaches_as_the_module_does() -> None:
    module = tiny.trained()

    def runtime(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(x)).numpy()

    x, outputs = pictures(), torch.zeros(8, 10)
    one, two = (Distill(teacher).penalty(step(x, outputs)).item() for teacher in (module, runtime))
    assert two == pytest.approx(one, rel=1e-5)
    laid_out = x.to(memory_format=torch.channels_last)
    assert Distill(runtime).penalty(step(laid_out, outputs)).item() == pytest.approx(one, rel=1e-5)


def test_a_distilled_student_says_more_of_what_its_teacher_says() -> None:
    x, teacher = torch.from_numpy(tiny.digits().test.inputs), tiny.trained()
    student = fit(tiny.traced(), tiny.digits(), Distill(teacher), config=SHORT)
    alone = fit(tiny.traced(), tiny.digits(), config=SHORT)
    with torch.no_grad():
        wanted = teacher(x)
        assert divergence(student(x), wanted, 4.0) < divergence(alone(x), wanted, 4.0)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_rejects_a_temperature_or_weight_that_is_not_positive_and_finite(wrong: float) -> None:
    with pytest.raises(ConfigError, match="must be positive and finite"):
        Distill(nn.Identity(), temperature=wrong)
    with pytest.raises(ConfigError, match="must be positive and finite"):
        Distill(nn.Identity(), weight=wrong)


@pytest.mark.parametrize("classes", [1, 9])
def test_rejects_a_teacher_of_other_classes(classes: int) -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    with pytest.raises(ShapeError, match=rf"\(8, {classes}\) and \(8, 10\)"):
        Distill(teacher).penalty(step(pictures(), torch.zeros(8, 10)))
