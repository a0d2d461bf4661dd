"""Features: what is matched, against which of the teacher's channels, and what it brings."""

import copy

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wieldy.compress.apply import apply_plan
from wieldy.core.errors import ConfigError, ShapeError
from wieldy.core.records import Plan
from wieldy.graph.coupling import couple
from wieldy.graph.network import GraphNetwork
from wieldy.graph.trace import trace
from wieldy.methods.contract import Step
from wieldy.train.distill import Distill
from wieldy.train.features import distance, exposing, stage_ends, stage_features
from wieldy.train.fit import FitConfig, fit

REMOVED = {"conv1": (0, 3, 5), "conv2": (1, 2, 7, 15)}


def shrunk(network: GraphNetwork, removed: dict[str, tuple[int, ...]] = REMOVED) -> GraphNetwork:
    return apply_plan(network, Plan(method={}, remove=removed))


def masked(network: GraphNetwork, removed: dict[str, tuple[int, ...]] = REMOVED) -> GraphNetwork:
    """The same network, of full width, with zeros where channels would go."""
    zeroed = copy.deepcopy(network)
    for group in couple(network.program).groups:
        for (tensor, axis), units in group.members.items():
            gone = [index for unit in removed.get(group.name, ()) for index in units[unit]]
            with torch.no_grad():
                zeroed.tensor(tensor).index_fill_(axis, torch.tensor(gone, dtype=torch.int64), 0.0)
    return zeroed


def pictures(count: int = 8) -> torch.Tensor:
    return torch.from_numpy(tiny.digits().train.inputs[:count])


def penalty(hook: Distill, student: GraphNetwork) -> float:
    x = pictures()
    hook.attach(student)
    found = hook.penalty(Step(student, x, student(x), torch.zeros(len(x), dtype=torch.int64), 0, 1, 0.1))
    hook.finish(student)
    return found.item()


def test_a_stage_ends_where_the_resolution_changes() -> None:
    program = tiny.traced().program
    nodes = {node.name: node for node in program.nodes}
    ends = stage_ends(program)
    assert [nodes[name].op for name in ends] == ["aten.relu.default", "aten.add.Tensor", "aten.mean.dim"]
    assert [nodes[name].shape[2:] for name in ends] == [(8, 8), (4, 4), ()]
    assert not set(ends) & set(program.outputs)


def test_dropout_and_outputs_are_not_matched() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3)).eval()
    program = trace(model, torch.zeros(1, 4)).program
    (end,) = stage_ends(program)
    assert next(node.op for node in program.nodes if node.name == end) == "aten.relu.default"


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_removed_channel_that_did_nothing_leaves_every_kept_value_as_it_was(data: st.DataObject) -> None:
    removed = {
        group.name: tuple(sorted(data.draw(st.sets(st.integers(0, group.size - 1), max_size=group.size - 1))))
        for group in couple(tiny.traced().program).groups
    }
    teacher = masked(tiny.traced(), removed)
    student, features = shrunk(teacher, removed), stage_features(teacher, removed)
    x = pictures()
    with torch.no_grad():
        _, *values = exposing(teacher, features.names)(x)
        seen = student.watch(features.names)
        student(x)
    for name, value in zip(features.names, values, strict=True):
        torch.testing.assert_close(seen[name], features.of_student(value, name), rtol=1e-5, atol=1e-5)
    hook = Distill(exposing(teacher, features.names), features=features)
    assert penalty(hook, student) == pytest.approx(0, abs=1e-5)


def test_the_weight_multiplies_the_mean_distance_of_all_features() -> None:
    teacher = tiny.trained()
    student, features = shrunk(teacher), stage_features(teacher, REMOVED)
    exposed = exposing(teacher, features.names)
    found = [penalty(Distill(exposed, features=features, feature_weight=w), student) for w in (0, 1, 3)]
    x = pictures()
    with torch.no_grad():
        seen = student.watch(features.names)
        student(x)
        _, *values = exposed(x)
        apart = [
            distance(seen[name], features.of_student(value, name))
            for name, value in zip(features.names, values, strict=True)
        ]
    mean = float(torch.stack(apart).mean())
    assert mean > 0.01
    assert found[1] - found[0] == pytest.approx(mean, rel=1e-4)
    assert found[2] - found[0] == pytest.approx(3 * mean, rel=1e-4)


def test_distance_is_relative_and_stays_finite_for_a_teacher_that_yields_nothing() -> None:
    value = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert distance(value, value).item() == 0
    assert distance(1.1 * value, value).item() == pytest.approx(0.01, rel=1e-4)
    assert distance(1100 * value, 1000 * value).item() == pytest.approx(0.01, rel=1e-4)
    assert distance(torch.zeros(2, 2), torch.zeros(2, 2)).item() == 0


def test_a_student_that_matches_features_computes_more_like_its_teacher() -> None:
    teacher, data = tiny.trained(), tiny.digits()
    features, short = stage_features(teacher, REMOVED), FitConfig(epochs=2, batch_size=64, learning_rate=0.01)
    with_features = Distill(exposing(teacher, features.names), features=features)
    students = [fit(shrunk(teacher), data, hook, config=short) for hook in (with_features, Distill(teacher))]
    x = torch.from_numpy(data.test.inputs)
    with torch.no_grad():
        _, *values = exposing(teacher, features.names)(x)
        apart = []
        for student in students:
            seen = student.watch(features.names)
            student(x)
            apart.append([
                float(distance(seen[name], features.of_student(value, name)))
                for name, value in zip(features.names, values, strict=True)
            ])  # fmt: skip
    assert np.mean(apart[0]) < 0.8 * np.mean(apart[1])


def test_a_numpy_teacher_teaches_features_as_the_module_does() -> None:
    teacher = tiny.trained()
    student, features = shrunk(teacher), stage_features(teacher, REMOVED)
    exposed = exposing(teacher, features.names)

    def runtime(x: np.ndarray) -> tuple[np.ndarray, ...]:
        with torch.no_grad():
            return tuple(value.numpy() for value in exposed(torch.from_numpy(x)))

    one, two = (penalty(Distill(t, features=features), student) for t in (exposed, runtime))
    assert two == pytest.approx(one, rel=1e-5)


def test_exposing_alters_neither_the_network_nor_its_answers() -> None:
    network = tiny.traced()
    before = network.program
    x = pictures()
    with torch.no_grad():
        plain, (answer, *_) = network(x), exposing(network, stage_ends(before))(x)
    assert network.program is before
    assert torch.equal(plain, answer)


def test_nothing_is_watched_after_training() -> None:
    teacher = tiny.trained()
    features = stage_features(teacher, REMOVED)
    hook = Distill(exposing(teacher, features.names), features=features)
    student = fit(shrunk(teacher), tiny.digits(), hook, config=FitConfig(epochs=1))
    seen = dict(hook._seen)
    student(pictures())
    assert all(hook._seen[name] is value for name, value in seen.items())
    copy.deepcopy(student)  # values of a training step could not be copied


def test_rejects_a_student_that_is_not_traced() -> None:
    teacher = tiny.trained()
    features = stage_features(teacher, {})
    with pytest.raises(ConfigError, match=r"traced network; got Net. Use wieldy.trace"):
        Distill(teacher, features=features).attach(tiny.net())


def test_rejects_a_teacher_that_yields_no_features() -> None:
    teacher = tiny.trained()
    with pytest.raises(ShapeError, match=r"and 3 values .*; got 0"):
        penalty(Distill(teacher, features=stage_features(teacher, {})), tiny.traced())


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf")])
def test_rejects_a_feature_weight_that_is_negative_or_not_finite(wrong: float) -> None:
    with pytest.raises(ConfigError, match="feature_weight not below 0"):
        Distill(nn.Identity(), feature_weight=wrong)


def test_rejects_a_value_that_the_network_does_not_have() -> None:
    with pytest.raises(ConfigError, match="has no value 'nowhere'"):
        tiny.traced().watch(["nowhere"])
