import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wieldy.runtime import timing
from wieldy.runtime.timing import choose_batch, median_ms, over_processes, paired_ratio, time_pairs


def rounds(ratio, noise, count, seed):
    """Times of two sides: both share the machine's mood of the round, each has noise of its own."""
    draw = np.random.default_rng(seed)
    mood = np.exp(draw.normal(0, 0.5, count))
    own = np.exp(draw.normal(0, noise, (count, 2)))
    return np.stack([mood, ratio * mood], axis=1) * own


def test_a_mood_that_both_sides_share_does_not_blur_the_ratio():
    found = paired_ratio(rounds(0.5, 0.0, 40, seed=0))
    assert (found.low, found.value, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_interval_covers_the_true_ratio_about_as_often_as_its_level_says():
    """Of 200 intervals of 95 %, three standard errors are 5 points; the bootstrap's intervals err small."""
    inside = 0
    for seed in range(200):
        found = paired_ratio(rounds(0.7, 0.05, 40, seed))
        inside += found.low <= 0.7 <= found.high
    assert 0.88 <= inside / 200 <= 1.0


def test_a_wider_level_is_a_wider_interval_around_the_same_value():
    times = rounds(0.7, 0.1, 40, seed=1)
    narrow, wide = paired_ratio(times, level=0.5), paired_ratio(times, level=0.99)
    assert narrow.value == wide.value
    assert wide.low < narrow.low <= narrow.value <= narrow.high < wide.high
    assert (narrow.level, wide.level) == (0.5, 0.99)


def test_a_few_disturbed_rounds_do_not_move_the_ratio():
    times = rounds(0.5, 0.01, 40, seed=2)
    times[::8, 1] *= 50
    found = paired_ratio(times)
    assert found.value == pytest.approx(0.5, rel=0.02)
    assert found.high < 0.52


def test_swapping_the_sides_inverts_the_ratio():
    times = rounds(0.25, 0.05, 41, seed=3)  # an odd count: the median is one of the ratios
    there, back = paired_ratio(times), paired_ratio(times[:, ::-1])
    assert there.value == pytest.approx(1 / back.value)


def test_the_same_times_give_the_same_interval():
    times = rounds(0.5, 0.1, 10, seed=4)
    assert paired_ratio(times) == paired_ratio(times)


def test_least_and_largest_of_the_processes_hold_the_median_of_all_as_often_as_the_level_says():
    """Whatever they are distributed as: here in two heaps. Of 2,000, three standard errors are 1.2 points."""
    draw = np.random.default_rng(0)
    heaps = draw.choice([0.3, 0.4, 0.4], (2000, timing.PROCESSES)) * np.exp(
        draw.normal(0, 0.02, (2000, timing.PROCESSES))
    )
    true = np.median(draw.choice([0.3, 0.4, 0.4], 10**6) * np.exp(draw.normal(0, 0.02, 10**6)))
    found = [over_processes(list(row)) for row in heaps]
    assert found[0].level == 1 - 2 / 2**timing.PROCESSES >= 0.95
    assert np.mean([one.low <= true <= one.high for one in found]) == pytest.approx(found[0].level, abs=0.012)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=9))
def test_the_order_of_the_processes_is_no_matter_and_the_value_lies_between_the_ends(ratios):
    found = over_processes(ratios)
    assert found == over_processes(ratios[::-1])
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize(
    ("each_ms", "floor_ms", "expected"),
    [
        (5.0, 0.0, 1),
        (0.4, 0.0, 1),
        (0.39, 0.0, 8),  # 0.39 * 8 = 3.1, and 0.39 * 4 = 1.6 is short of 2 ms
        (0.25, 0.0, 8),
        (0.001, 0.1, timing.LARGEST_BATCH),
        (0.0, 0.02, timing.LARGEST_BATCH),
    ],
)
def test_the_batch_is_the_smallest_power_of_two_that_takes_two_milliseconds(each_ms, floor_ms, expected):
    assert choose_batch(lambda batch: floor_ms + each_ms * batch) == expected


def test_no_larger_batch_is_timed_than_needed():
    tried = []

    def time_at(batch):
        tried.append(batch)
        return 0.3 * batch

    assert choose_batch(time_at) == 8
    assert tried == [1, 2, 4, 8]


@pytest.fixture
def quick(monkeypatch):
    """Blocks and warming that take a moment."""
    monkeypatch.setattr(timing, "WARM_SECONDS", 0.01)
    monkeypatch.setattr(timing, "BLOCK_SECONDS", 0.003)


def test_runs_that_sleep_are_timed_as_long_as_they_sleep(quick):
    times = time_pairs(lambda: time.sleep(0.004), lambda: time.sleep(0.002), 10)
    assert times.shape == (10, 2)
    assert (times >= (4, 2)).all()  # sleep never wakes early
    found = paired_ratio(times)
    assert found.low - 0.1 <= 0.5 <= found.high + 0.1


class Clock:
    """A clock that only the runs move."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def run(self, name, seconds):
        def call():
            self.calls.append(name)
            self.now += seconds

        return call

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(timing, "time", made)
    return made


def test_in_a_round_each_side_follows_itself_once_and_the_other_once(clock):
    times = time_pairs(clock.run("a", 0.5), clock.run("b", 1.0), 4)
    assert "".join(clock.calls[-16:]) == "abba" * 4
    np.testing.assert_allclose(times, [[500, 1000]] * 4)


def test_a_side_that_is_slow_after_the_other_gets_no_worse_ratio_by_its_place(clock):
    """Two equal sides, each of which takes half as long again where the other's memory is in the caches."""
    last = ""

    def run(name):
        def call():
            nonlocal last
            clock.now += 1.0 if last == name else 1.5
            last = name

        return call

    for first, second in ("ab", "ba"):
        times = time_pairs(run(first), run(second), 10)
        assert paired_ratio(times[1:]).value == pytest.approx(1)


def test_a_machine_that_slows_down_evenly_leaves_equal_sides_equal(clock):
    def run():
        clock.now += 1.0 + 0.01 * clock.now

    assert paired_ratio(time_pairs(run, run, 10)).value == pytest.approx(1, abs=1e-3)


def test_a_quick_run_is_repeated_until_its_block_is_long_enough(clock):
    each = 0.0005
    times = time_pairs(clock.run("a", each), clock.run("b", 1.0), 1)
    assert clock.calls[-34:] == ["a"] * 16 + ["b"] * 2 + ["a"] * 16
    assert 16 * each == timing.BLOCK_SECONDS
    np.testing.assert_allclose(times, [[0.5, 1000]])


def test_warming_up_is_not_timed(clock):
    left = iter([9.0, 5.0] + [0.01] * 10_000)

    def cold():
        clock.now += next(left)

    assert median_ms(cold) == pytest.approx(10)
