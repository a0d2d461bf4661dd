import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from wieldy.core.data import ACCURACY, Arrays, Data, Metric, Stream, as_split, check_fit, checked_batch
from wieldy.core.errors import DataError, ShapeError


def rows(count=20, width=2):
    return np.arange(count * width, dtype=np.float32).reshape(count, width), np.arange(count) % 3


def test_arrays_come_back_in_order_and_whole():
    x, y = rows(8)
    found = list(Arrays(x, y).batches(3))
    assert [len(inputs) for inputs, _ in found] == [3, 3, 2]
    np.testing.assert_array_equal(np.concatenate([inputs for inputs, _ in found]), x)
    np.testing.assert_array_equal(np.concatenate([targets for _, targets in found]), y)


def test_a_lone_last_example_joins_those_before_it():
    found = list(Arrays(*rows(7)).batches(3))
    assert [len(inputs) for inputs, _ in found] == [3, 4]


@pytest.mark.parametrize(("size", "batch_size"), [(7, 3), (6, 3), (1, 5), (5, 1)])
def test_steps_counts_the_batches(size, batch_size):
    split = Arrays(*rows(size))
    assert split.steps(batch_size) == len(list(split.batches(batch_size)))


def test_an_order_permutes_inputs_and_targets_together():
    x = np.arange(50, dtype=np.float32)[:, None]
    (inputs, targets), *_ = Arrays(x, np.arange(50)).batches(50, np.random.default_rng(0))
    assert (inputs[:, 0] == targets).all()
    assert not (targets == np.arange(50)).all()
    assert sorted(targets) == list(range(50))


def test_several_inputs_stay_together_and_whole_numbers_stay_whole():
    words, mask, y = np.arange(20).reshape(10, 2), np.ones((10, 2), bool), np.arange(10) % 3
    split = Arrays((words, mask), y)
    assert [array.dtype for array in split.inputs] == [np.int64, np.bool_]
    ((first, second), targets), *_ = split.batches(10, np.random.default_rng(0))
    assert (first[:, 0] // 2 % 3 == targets).all()
    assert len(second) == 10
    assert split.take(np.array([3])).inputs[0].tolist() == [[6, 7]]
    with pytest.raises(DataError, match="all inputs must have as many examples"):
        Arrays((words, mask[:3]), y)


def values(**more):
    """A metric of targets that are no labels."""
    return Metric(name="near", scores=lambda out, to: -np.abs(out - to).mean(axis=1), labels=False, **more)


def test_targets_that_are_no_labels_need_a_metric_that_says_so():
    x, y = rows(12)
    boxes = np.random.default_rng(0).normal(size=(12, 4))
    data = Data((x, boxes), metric=values())
    assert (data.train.labels, data.train.targets.dtype) == (0, np.float32)
    several = Data((x, (boxes, y)), metric=values())
    assert [len(array) for array in several.test.targets] == [2, 2]
    with pytest.raises(DataError, match=r"labels=False"):
        Data((x, boxes))
    with pytest.raises(DataError, match="targets must have 12 rows"):
        Data((x, boxes[:5]), metric=values())
    with pytest.raises(DataError, match="targets must be finite; 1 of 12"):
        Data((x, np.where(np.arange(12)[:, None] == 3, np.nan, boxes)), metric=values())


def test_a_loader_of_several_inputs_is_read_as_it_is():
    x, y = rows(10)
    loader = DataLoader(
        TensorDataset(torch.from_numpy(x), torch.arange(10), torch.from_numpy(y)), batch_size=4
    )
    batches = [((first, second), targets) for first, second, targets in loader]
    split = as_split([([*inputs], targets) for inputs, targets in batches], "train")
    (inputs, _), *_ = split.batches(1)
    assert [array.dtype for array in inputs] == [np.float32, np.int64]
    assert (split.size, split.shape) == (10, (2,))


def test_inputs_become_float32_and_targets_int64():
    split = Arrays([[1, 2], [3, 4]], np.array([0, 1], np.uint8))
    assert (split.inputs.dtype, split.targets.dtype) == (np.float32, np.int64)
    assert (split.size, split.shape, split.labels) == (2, (2,), 2)


X, Y = rows(4)
NAN, HUGE = X.copy(), X.astype(np.float64)
NAN[2, 1], HUGE[1, 0] = np.nan, 1e300


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (X[:0], Y[:0], "holds no examples"),
        (X, Y[:3], r"targets must be \(4,\), one label for each input; got \(3,\)"),
        (X, Y[:, None], r"got \(4, 1\)"),
        (X, Y.astype(np.float32), "whole numbers .*float32"),
        (X, Y - 1, "labels must not be negative; got -1"),
        (NAN, Y, "1 of 4 hold NaN or infinity, the first at index 2"),
        (HUGE, Y, "1 of 4 hold NaN or infinity, the first at index 1"),
        ([[1, 2], [3]], [0, 1], "inputs cannot be read as one array"),
        (X, [[1], [2, 3]], "targets cannot be read as one array"),
        (["a", "b"], [0, 1], "inputs must be real numbers"),
        (X + 1j, Y, "inputs must be real numbers; got complex64"),
        (np.array([object()] * 4), Y, "inputs must be real numbers; got object"),
        (torch.zeros(4, 2, requires_grad=True), Y, "inputs cannot be read as one array"),
        (3.0, 1, "holds no examples"),
    ],
)
def test_what_is_no_batch_is_refused_with_the_reason(inputs, targets, message):
    with pytest.raises(DataError, match=message):
        checked_batch(inputs, targets, "data")
    with pytest.raises(DataError, match="train: "):
        Data((inputs, targets))


def test_a_torch_loader_is_read_as_it_is():
    x, y = rows(10)
    loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=4)
    split = Data(loader, loader, loader).train
    assert (split.size, split.shape, split.labels, split.steps(99)) == (10, (2,), 3, 3)
    for _ in range(2):
        found = list(split.batches(99))
        np.testing.assert_array_equal(np.concatenate([inputs for inputs, _ in found]), x)
        assert [targets.dtype for _, targets in found] == [np.int64] * 3


def test_a_generator_is_refused_since_it_can_be_read_once():
    with pytest.raises(DataError, match="train: a generator can be read only once"):
        as_split((batch for batch in [rows()]), "train")


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "the loader is empty"),
        ([{"x": X, "y": Y}], r"each batch must be \(inputs, targets\); got dict"),
        ([X], "got ndarray"),
        ([(X, Y, Y)], "got tuple"),
        ([(X, Y), (X[:0], Y[:0])], "holds no examples"),
        ([(X, Y), (NAN, Y)], "hold NaN"),
        ([(X, Y), (X[:, :1], Y)], r"inputs of the same shape; got \(2,\) and \(1,\)"),
        ([(torch.zeros(2, 1), torch.zeros(2))], "whole numbers .*float32"),
    ],
)
def test_a_loader_that_yields_something_else_is_refused(batches, message):
    with pytest.raises(DataError, match=f"validate: .*{message}"):
        Stream(batches, "validate")


@pytest.mark.parametrize("source", [None, 3, TensorDataset(torch.zeros(3, 1), torch.zeros(3))])
def test_what_is_no_data_is_refused_by_its_type(source):
    with pytest.raises(DataError, match=f"train: must be .* got {type(source).__name__}"):
        Data(source)


def test_a_split_of_the_user_s_own_is_taken_as_it_is():
    class Doubled:
        size, shape, labels = 4, (2,), 3

        def steps(self, batch_size):
            return 1

        def batches(self, batch_size, order=None):
            yield 2 * X, Y

    split = Doubled()
    assert as_split(split, "train") is split


def test_one_set_is_split_70_15_15_and_noted():
    x = np.arange(200, dtype=np.float32)[:, None]
    data = Data((x, np.arange(200)), seed=3)
    parts = [data.train, data.validate, data.test]
    assert [part.size for part in parts] == [140, 30, 30]
    assert sorted(np.concatenate([part.targets for part in parts])) == list(range(200))
    assert all((part.inputs[:, 0] == part.targets).all() for part in parts)
    assert data.notes == ("one set of 200 was given; it was split 70/15/15 with seed 3",)


def test_the_split_depends_on_the_seed_alone():
    first, again, other = (Data(rows(50), seed=seed).test.targets.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_three_given_sets_are_kept_and_nothing_is_noted():
    data = Data(rows(5), rows(6), rows(7))
    assert (data.train.size, data.validate.size, data.test.size, data.notes) == (5, 6, 7, ())


@pytest.mark.parametrize("given", [{"validate": rows()}, {"test": rows()}])
def test_one_of_validate_and_test_alone_is_refused(given):
    with pytest.raises(DataError, match="both validate and test, or neither"):
        Data(rows(), **given)


@pytest.mark.parametrize("source", [rows(9), [rows(30)]])
def test_few_examples_and_loaders_are_not_split(source):
    with pytest.raises(DataError, match="only arrays of at least 10"):
        Data(source)


def test_inputs_and_labels_must_fit_the_network():
    split = Arrays(*rows(6))
    check_fit(split, [(None, 2)], 3, "test")
    with pytest.raises(ShapeError, match=r"test: inputs must be \(batch, 1, 2\); got \(batch, 2\)"):
        check_fit(split, [(None, 1, 2)], 3, "test")
    with pytest.raises(ShapeError, match="test: the network takes 2 inputs; got 1"):
        check_fit(split, [(None, 2), (None, 2)], 3, "test")
    with pytest.raises(DataError, match=r"test: labels must be below 2.*; got 2"):
        check_fit(split, [(None, 2)], 2, "test")


def test_a_point_is_a_hundredth_of_the_scale_in_the_metric_s_direction():
    before, after = np.array([3.0, 5.0]), np.array([2.0, 4.0])
    higher = Metric(name="a", scores=ACCURACY.scores, scale=10)
    lower = Metric(name="b", scores=ACCURACY.scores, scale=10, higher_is_better=False)
    assert (higher.points_lost(before, after), lower.points_lost(before, after)) == (10.0, -10.0)


def test_accuracy_is_the_share_of_largest_outputs_at_the_target():
    outputs = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], np.float32)
    np.testing.assert_array_equal(ACCURACY.scores(outputs, np.array([1, 1, 1])), [1, 0, 1])
