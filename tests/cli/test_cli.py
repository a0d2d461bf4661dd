"""Every verb: an example in its help, the right exit code, JSON where asked for, and never a traceback."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from keys import key_pair
from torch import nn

import wieldy
from wieldy.cli.main import VERBS, run_verb


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    path = tmp_path_factory.mktemp("package") / "net.wieldy"
    return wieldy.save(wieldy.trace(model, torch.zeros(1, 1, 8, 8)), path)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb([verb, "--help"]) == 0
    assert f"Example: wieldy {verb}" in " ".join(capsys.readouterr().out.split())


def test_check_and_inspect_answer_in_text_and_in_json(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_verb(["check", str(package)]) == 0
    assert "sound" in capsys.readouterr().out
    assert run_verb(["check", str(package), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sha256"] == wieldy.check(package).sha256
    assert run_verb(["inspect", str(package), "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert [row["macs"] for row in layers if row["macs"]] == [4 * 9 * 36, 144 * 10]
    assert run_verb(["inspect", str(package)]) == 0
    assert "1,490 parameters" in capsys.readouterr().out


def test_a_signed_package_is_told_from_one_that_is_not(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, public = key_pair(tmp_path)
    copied = Path(shutil.copy(package, tmp_path / "net.wieldy"))
    check = ["check", str(copied), "--key", str(public)]
    assert run_verb(check) == 1
    assert "the package is not signed" in capsys.readouterr().err
    assert run_verb(["sign", str(copied), "--key", str(key)]) == 0
    assert f"{copied}.sig: signs {copied}" in capsys.readouterr().out
    assert run_verb([*check, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signed_by"] == str(public)
    copied.write_bytes(copied.read_bytes() + b"x")
    assert run_verb(check) == 1
    assert "is not what was signed" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_an_export_says_how_far_other_runtimes_are_from_ours(
    form: str, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / ("net.onnx" if form == "onnx" else "net.xml")
    assert run_verb(["export", str(package), "--to", form, "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    written = [out] if form == "onnx" else [out, out.with_suffix(".bin")]
    assert found["bytes"] == sum(part.stat().st_size for part in written)
    assert all(item["relative"] < 1e-4 for item in found["differences"])
    assert run_verb(["export", str(package), "--to", form, "--out", str(out)]) == 0
    assert "of the largest output from ours on 256 random examples" in capsys.readouterr().out


def test_bench_prints_the_ratio_with_its_tier(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "bench",
        str(package),
        str(package),
        "--rounds",
        "4",
        "--batch",
        "8",
        "--threads",
        "1",
        "--json",
    ]
    assert run_verb(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["batch"] == 8
    assert found["threads"] == 1
    assert 0.3 < found["ratio"]["value"] < 3
    assert found["tier"]


def test_verify_fails_where_too_much_is_lost(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = ["verify", str(package), "--against", str(package), "--data", "optical-digits", "--json"]
    assert run_verb(same) == 0
    assert json.loads(capsys.readouterr().out)[1]["numbers"]["flips"] == 0
    from wieldy.train.fit import FitConfig, fit
    from wieldy.zoo.data.digits import optical_digits

    better = fit(wieldy.load(package), optical_digits(), config=FitConfig(epochs=1, learning_rate=0.05))
    good = wieldy.save(better, tmp_path / "good.wieldy")
    assert run_verb(["verify", str(package), "--against", str(good), "--data", "optical-digits"]) == 1


def damaged(package: Path, folder: Path) -> dict[str, Path]:
    data = package.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    files = {"truncated": data[:-100], "flipped": bytes(flipped), "text": b"hello", "empty": b""}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in files} | {"missing": folder / "missing", "folder": folder}


def test_damaged_packages_give_one_line_and_exit_code_2(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, path in damaged(package, tmp_path).items():
        for verb in (["check", str(path)], ["inspect", str(path)], ["bench", str(package), str(path)]):
            assert run_verb(verb) == 2, (name, verb)
            shown = capsys.readouterr()
            assert shown.err.startswith("error: ")
            assert len(shown.err.strip().splitlines()) == 1
            assert shown.out == ""


@pytest.mark.parametrize("arguments", [["nonsense"], ["check"], ["bench", "one"], ["demo", "--seed", "x"]])
def test_wrong_usage_has_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_our_own_fault_has_exit_code_3_and_a_file_instead_of_a_traceback(
    monkeypatch: pytest.MonkeyPatch, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("gear")

    monkeypatch.setattr("wieldy.cli.check.check_package", broken)
    assert run_verb(["check", str(package)]) == 3
    shown = capsys.readouterr().err
    assert "internal error: RuntimeError: gear" in shown
    assert "Traceback" not in shown
    fault = Path(shown.split("report it with ")[1].strip().rstrip("."))
    assert "gear" in fault.read_text()
    fault.unlink()


def test_ctrl_c_leaves_with_130_and_no_half_written_file(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    process = subprocess.Popen(
        [sys.executable, "-c", "from wieldy.cli import main; main()", "demo", "--out", str(out)],
        stderr=subprocess.PIPE, text=True, start_new_session=True, env=os.environ,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs ignore it
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(out.glob("ledger*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in shown
    assert "Traceback" not in shown
    assert not list(out.glob("*.tmp"))
    assert not (out / "small.wieldy").exists()


def test_report_needs_a_runs_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["report", str(tmp_path)]) == 2
    assert "record.json" in capsys.readouterr().err


def test_claims_are_listed_and_unknown_ones_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["claims", "--list", "--json"]) == 0
    assert "importance" in json.loads(capsys.readouterr().out)
    assert run_verb(["claims", "nonsense"]) == 2
    assert "importance" in capsys.readouterr().err
