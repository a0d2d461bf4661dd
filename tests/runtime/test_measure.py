import os
import sys
import tempfile
from dataclasses import replace

import byhand
import numpy as np
import pytest

from wieldy.core.errors import ConfigError, InternalError, NotAPackageError, SchemaError, TierError
from wieldy.core.ledger import Ledger
from wieldy.core.records import Timing
from wieldy.package.save import save
from wieldy.runtime import engine
from wieldy.runtime import measure as module
from wieldy.runtime.lower import lower
from wieldy.runtime.measure import (
    PATIENCE_OF_USER,
    Quiet,
    Subject,
    layer_times,
    measure,
    measure_beside,
    patience,
)  # fmt: skip
from wieldy.runtime.tier import CAP, available_tiers, cpu_name, current_tier, has_bf16

QUICK = {"threads": 1, "batch": 16, "rounds": 5, "processes": 1}


@pytest.fixture(scope="module", autouse=True)
def own_lock(tmp_path_factory):
    """A lock of these tests' own: they hold on a busy machine, and need not wait for it."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("lock"))
    yield
    tempfile.tempdir = before


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return save(byhand.conv_net(channels=256, side=28), tmp_path_factory.mktemp("wide") / "wide.wieldy")


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    return save(byhand.conv_net(channels=8, side=28), tmp_path_factory.mktemp("narrow") / "narrow.wieldy")


@pytest.fixture
def no_child(monkeypatch):
    """Fail where a timing process would be started."""

    def started(*_, **__):
        raise AssertionError("a timing process was started")

    monkeypatch.setattr(module.subprocess, "run", started)


@pytest.fixture(scope="module")
def against_itself(wide):
    """One measurement of a package against itself, in a ledger."""
    ledger = Ledger(None)
    return measure(Subject(wide), Subject(wide), **QUICK, ledger=ledger), ledger


def ratio_of(first, second, near, within):
    """Return the ratio of two files; again, up to four times, where a busy machine put it too far off."""
    for _ in range(4):
        found = measure(Subject(first), Subject(second), **QUICK).ratio
        if abs(found.value - near) <= within:
            break
    return found


def test_a_package_is_as_fast_as_itself(wide):
    found = ratio_of(wide, wide, near=1, within=0.1)
    assert found.value == pytest.approx(1, abs=0.1)
    assert found.low <= found.value <= found.high
    assert found.low < 1.1
    assert found.high > 0.9


def test_a_figure_names_all_that_it_depends_on(against_itself):
    timing, _ = against_itself
    assert (timing.threads, timing.batch, timing.rounds) == (1, 16, 5)
    assert (timing.tier, timing.cpu) == (current_tier(), cpu_name())
    assert (timing.original_precision, timing.small_precision) == ("f32", "f32")
    assert timing.original_ms > 0
    assert timing.small_ms > 0


def test_a_narrow_network_is_faster_and_the_ratio_is_new_over_old(wide, narrow):
    assert ratio_of(wide, narrow, near=0.3, within=0.3).value < 0.6
    assert ratio_of(narrow, wide, near=4, within=2.4).value > 1.6


def test_one_file_beside_several_others_is_timed_against_each(wide, narrow):
    for _ in range(4):
        pair = measure_beside(
            [Subject(wide), Subject(narrow)], Subject(narrow), threads=1, batch=16, rounds=5, processes=1
        )
        if abs(pair[1].ratio.value - 1) < 0.1:
            break
    assert pair[0].ratio.value < 0.6
    assert pair[1].ratio.value == pytest.approx(1, abs=0.1)
    assert all((timing.threads, timing.batch, timing.rounds) == (1, 16, 5) for timing in pair)
    assert all((timing.tier, timing.cpu) == (current_tier(), cpu_name()) for timing in pair)


class Children:
    """Stands in for the timing processes: each finds a ratio and milliseconds of its own."""

    def __init__(self, ratios):
        self.ratios = ratios
        self.tasks = []

    def __call__(self, task, tier):
        ratio = self.ratios[len(self.tasks)]
        self.tasks.append(task)
        found = {"value": ratio, "low": 0.99 * ratio, "high": 1.01 * ratio, "level": 0.95}
        pair = {"ratio": found, "original_ms": 2 * len(self.tasks), "small_ms": len(self.tasks)}
        return pair | {"batch": 8} if task["task"] == "compare" else {"pairs": [pair, pair]}


def test_a_figure_is_the_median_of_its_processes_between_the_least_and_the_largest(wide, monkeypatch):
    children = Children([0.5, 0.3, 0.9, 0.4, 0.7, 0.6, 0.8])
    monkeypatch.setattr(module, "_ask", children)
    timing = measure(Subject(wide), Subject(wide), threads=1, processes=7)
    assert (timing.ratio.low, timing.ratio.value, timing.ratio.high) == (0.3, 0.6, 0.9)
    assert (timing.original_ms, timing.small_ms) == (8, 4)
    assert timing.turns == "7 processes of 8 paired rounds"
    assert [task["batch"] for task in children.tasks] == [None] + 6 * [8]  # the first chooses for all


def test_beside_others_each_pair_has_the_median_of_the_processes(wide, monkeypatch):
    monkeypatch.setattr(module, "_ask", Children([0.5, 0.3, 0.9]))
    pair = measure_beside([Subject(wide), Subject(wide)], Subject(wide), threads=1, batch=8, processes=3)
    assert [timing.ratio.value for timing in pair] == [0.5, 0.5]


def test_one_process_has_the_interval_of_its_own_rounds(wide, monkeypatch):
    monkeypatch.setattr(module, "_ask", Children([0.5]))
    timing = measure(Subject(wide), Subject(wide), threads=1, processes=1)
    assert (timing.ratio.low, timing.ratio.high) == (0.99 * 0.5, 1.01 * 0.5)
    assert timing.turns == "8 paired rounds in one process"


@pytest.mark.parametrize(
    ("quiet", "asked", "kept"),
    [
        (None, 2, [1.4, 1.2]),
        (Quiet(1.3, patience=9), 2, [1.2, 1.4]),  # a tenth more is what it is without anybody else
        (Quiet(1.1, patience=9), 3, [1.05, 1.2]),  # one of the two was disturbed
        (Quiet(1.0, patience=9), 4, [0.9, 1.05]),  # both were
        (Quiet(0.5, patience=4), 6, [0.7, 0.9]),  # often enough: the quietest count
        (Quiet(1.0, patience=1), 3, [1.05, 1.2]),
    ],
)
def test_what_was_measured_beside_others_is_measured_again(monkeypatch, quiet, asked, kept):
    pauses = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    answers = [{"original_ms": ms} for ms in (1.4, 1.2, 1.05, 0.9, 1.3, 0.7)]
    monkeypatch.setattr(module, "_ask", lambda *_: answers.pop(0))
    found = module._asked({"batch": 1}, "avx2", 2, quiet=quiet)
    assert [answer["original_ms"] for answer in found] == kept
    assert (6 - len(answers), len(pauses)) == (asked, asked - 2)


def test_how_long_a_run_waits_for_quiet_can_be_said_for_a_machine(monkeypatch):
    monkeypatch.delenv(PATIENCE_OF_USER)
    assert (patience(72), Quiet().patience) == (72, patience())
    monkeypatch.setenv(PATIENCE_OF_USER, "3")
    assert (patience(72), Quiet().patience) == (3, 3)
    monkeypatch.setenv(PATIENCE_OF_USER, "-1")
    with pytest.raises(ConfigError, match=r"WIELDY_PATIENCE: must be a whole number of processes.*'-1'"):
        Quiet()


def test_the_measurements_of_a_run_learn_what_is_quiet(wide, monkeypatch):
    monkeypatch.setattr(module, "_ask", Children([0.5]))
    quiet = Quiet()
    timing = measure(Subject(wide), Subject(wide), threads=1, processes=1, quiet=quiet)
    assert quiet == Quiet(timing.original_ms)


def test_two_real_processes_make_one_figure(wide):
    timing = measure(Subject(wide), Subject(wide), **QUICK | {"processes": 2})
    assert timing.ratio.low <= timing.ratio.value <= timing.ratio.high
    assert timing.ratio.level == 0.5


def test_a_figure_in_the_ledger_is_not_measured_again(against_itself, wide, no_child):
    timing, ledger = against_itself
    assert measure(Subject(wide), Subject(wide), **QUICK, ledger=ledger) == timing


def test_a_replayed_figure_keeps_the_name_of_the_cpu_that_gave_it(
    against_itself, wide, no_child, monkeypatch
):
    timing, ledger = against_itself
    monkeypatch.setattr(module, "cpu_name", lambda: "another CPU")
    assert measure(Subject(wide), Subject(wide), **QUICK, ledger=ledger).cpu == timing.cpu


def test_a_copy_of_the_file_has_the_same_figure(against_itself, wide, no_child, tmp_path):
    timing, ledger = against_itself
    copy = tmp_path / "copy.wieldy"
    copy.write_bytes(wide.read_bytes())
    assert measure(Subject(copy), Subject(wide), **QUICK, ledger=ledger) == timing


@pytest.mark.parametrize(
    "change", [{"threads": 2}, {"batch": 8}, {"batch": None}, {"rounds": 11}, {"processes": 2}]
)
def test_other_settings_are_another_figure(against_itself, wide, no_child, change):
    _, ledger = against_itself
    with pytest.raises(AssertionError, match="a timing process was started"):
        measure(Subject(wide), Subject(wide), **QUICK | change, ledger=ledger)


@pytest.mark.skipif("avx2" not in available_tiers() or current_tier() == "avx2", reason="no tier above avx2")
def test_another_tier_is_another_figure(against_itself, wide, no_child):
    with pytest.raises(AssertionError, match="a timing process was started"):
        measure(Subject(wide), Subject(wide), **QUICK, tier="avx2", ledger=against_itself[1])


def test_other_contents_are_another_figure(against_itself, wide, narrow, no_child):
    _, ledger = against_itself
    for pair in ((wide, narrow), (narrow, wide)):
        with pytest.raises(AssertionError, match="a timing process was started"):
            measure(*map(Subject, pair), **QUICK, ledger=ledger)


def test_a_quick_network_is_timed_at_a_larger_batch_that_the_figure_names(tmp_path):
    subject = Subject(save(byhand.conv_net(channels=32, side=24), tmp_path / "net.wieldy"))
    assert measure(subject, subject, threads=1, rounds=2, processes=1).batch in {
        2**power for power in range(1, 11)
    }


@pytest.mark.skipif("avx2" not in available_tiers() or current_tier() == "avx2", reason="no tier above avx2")
def test_a_lesser_tier_is_used_and_named(tmp_path, monkeypatch):
    monkeypatch.delenv(CAP, raising=False)
    subject = Subject(save(byhand.conv_net(channels=16, side=16), tmp_path / "net.wieldy"))
    kernels = {}
    for tier in ("avx2", current_tier()):
        rows = layer_times([subject], threads=1, batch=1, tier=tier)[0]
        (kernels[tier],) = (row.kernel for row in rows if row.kind == "Convolution")
    assert "avx2" in kernels["avx2"]
    if current_tier() in ("avx512", "avx512_vnni", "amx"):
        assert "avx512" in kernels[current_tier()]
    timing = measure(subject, subject, threads=1, batch=4, rounds=3, processes=1, tier="avx2")
    assert timing.tier == "avx2"
    assert CAP not in os.environ


def test_layer_times_name_the_program_s_nodes_and_are_replayed(wide, monkeypatch):
    ledger = Ledger(None)
    given = {"threads": 1, "batch": 16, "tier": current_tier(), "ledger": ledger}
    rows = layer_times([Subject(wide)], **given)[0]
    named = [layer for row in rows for layer in row.layers]
    for node in byhand.conv_net().program.nodes:
        assert named.count(node.name) <= 1
    assert {"conv", "relu", "fc"} <= set(named)
    assert all(row.milliseconds >= 0 for row in rows)
    assert sum(row.milliseconds for row in rows) > 0
    monkeypatch.setattr(module, "_ask", None)
    assert layer_times([Subject(wide)], **given)[0] == rows


def test_a_reference_in_openvino_s_own_format_can_be_timed(wide, tmp_path):
    net = byhand.conv_net(channels=256, side=28)
    path = tmp_path / "reference.xml"
    engine.openvino().save_model(lower(net.program, net.tensors, 1), path, compress_to_fp16=False)
    assert ratio_of(path, wide, near=1, within=0.15).value == pytest.approx(1, abs=0.15)


def test_a_reference_with_other_weights_is_another_figure(tmp_path, no_child):
    seen = []
    for seed in (0, 1):
        net = byhand.conv_net(seed=seed)
        engine.openvino().save_model(lower(net.program, net.tensors, 1), tmp_path / "net.xml")
        seen.append(module._identity(Subject(tmp_path / "net.xml")))
    assert seen[0] != seen[1]


@pytest.mark.parametrize("name", engine.DYNAMIC_SWITCHES)
@pytest.mark.parametrize("value", ["true", "TRUE", "1", " true "])
def test_dynamic_thread_counts_are_refused(wide, no_child, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{name}: must not be set"):
        measure(Subject(wide), Subject(wide), **QUICK)


def test_dynamic_thread_counts_that_are_off_are_fine(wide, no_child, monkeypatch):
    monkeypatch.setenv("OMP_DYNAMIC", "false")
    with pytest.raises(AssertionError, match="a timing process was started"):
        measure(Subject(wide), Subject(wide), **QUICK)


def test_a_missing_file_is_named_on_either_side(wide, no_child, tmp_path):
    for pair in ((tmp_path / "none", wide), (wide, tmp_path / "none"), (tmp_path, wide)):
        with pytest.raises(NotAPackageError, match="is no file"):
            measure(*map(Subject, pair), **QUICK)


def test_an_unsound_file_is_refused_before_the_machine_is_waited_for(wide, no_child, tmp_path):
    path = tmp_path / "net.wieldy"
    path.write_text("no package")
    with pytest.raises(NotAPackageError, match=r"net.wieldy"):
        measure(Subject(wide), Subject(path), **QUICK)


@pytest.mark.parametrize("name", ["threads", "batch", "rounds", "processes"])
def test_settings_below_one_are_refused(wide, no_child, name):
    with pytest.raises(ConfigError, match=f"{name}: must be at least 1; got 0"):
        measure(Subject(wide), Subject(wide), **QUICK | {name: 0})


def test_a_tier_or_a_precision_that_is_not_to_be_had_is_refused(wide, no_child):
    with pytest.raises(TierError, match="tier: must be one of"):
        measure(Subject(wide), Subject(wide), **QUICK, tier="neon")
    with pytest.raises(ConfigError, match="precision: must be one of"):
        measure(Subject(wide), Subject(wide, "int3"), **QUICK)
    if not has_bf16("avx2") and "avx2" in available_tiers():
        with pytest.raises(TierError, match="bf16 is not native"):
            measure(Subject(wide), Subject(wide, "bf16"), **QUICK, tier="avx2")


def test_an_error_in_the_timing_process_is_that_error_here(tmp_path):
    """The file is sound; that its layers do not fit each other shows when it is built."""
    net = byhand.conv_net()
    fc = net.program.nodes[-1]
    program = replace(net.program, nodes=(*net.program.nodes[:-1], replace(fc, shape=(None, 9))))
    subject = Subject(save(byhand.ByHand(program, net.tensors), tmp_path / "net.wieldy"))
    with pytest.raises(SchemaError, match="'fc'"):
        measure(subject, subject, **QUICK)


@pytest.mark.parametrize("code", ["import sys; sys.exit(5)", "print('not JSON')", "import os; os.abort()"])
def test_a_timing_process_that_dies_is_our_own_fault(wide, monkeypatch, tmp_path, code):
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}"\n')
    program.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(program))
    with pytest.raises(InternalError, match="timing process: ended with"):
        measure(Subject(wide), Subject(wide), **QUICK)


def test_a_timing_is_json_both_ways(against_itself):
    timing, _ = against_itself
    assert Timing.from_json(timing.to_json()) == timing
    assert np.isfinite([timing.ratio.value, timing.original_ms, timing.small_ms]).all()
