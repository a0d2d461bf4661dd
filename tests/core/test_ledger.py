import json
import os
import subprocess
import sys

import pytest

from wieldy.core.errors import ConfigError, StorageError
from wieldy.core.ledger import Ledger


def never():
    raise AssertionError("the ledger holds this value; it must not be computed again")


def three(folder):
    ledger = Ledger(folder)
    for number in range(3):
        ledger.remember("time", {"net": number}, lambda n=number: n / 4)
    return ledger


def test_a_value_is_computed_once():
    ledger = Ledger(None)
    assert ledger.remember("time", {"a": 1, "b": 2}, lambda: 0.25) == 0.25
    assert ledger.remember("time", {"b": 2, "a": 1}, never) == 0.25


def test_kind_and_key_both_count():
    ledger = Ledger(None)
    for kind, key in [("a", 1), ("b", 1), ("a", 2)]:
        assert ledger.remember(kind, key, lambda made=(kind, key): made) == [kind, key]


def test_a_second_run_reads_back_what_the_first_one_stored(tmp_path):
    three(tmp_path)
    again = Ledger(tmp_path)
    assert [again.remember("time", {"net": n}, never) for n in range(3)] == [0.0, 0.25, 0.5]


def test_first_run_and_replay_see_the_same_value(tmp_path):
    made = {"pair": (1, 2), 10: "ten", 9: "nine"}  # JSON knows neither tuples nor keys that are numbers
    first = Ledger(tmp_path).remember("odd", 0, lambda: made)
    assert first == Ledger(tmp_path).remember("odd", 0, never)
    assert first == {"pair": [1, 2], "10": "ten", "9": "nine"}


def test_nan_is_never_stored(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        Ledger(tmp_path).remember("time", 0, lambda: float("nan"))
    assert not (tmp_path / "ledger.jsonl").exists()


def test_notes_are_listed_by_kind_in_their_order(tmp_path):
    ledger = Ledger(tmp_path)
    for epoch in (2, 0, 1):
        ledger.note("epoch", {"epoch": epoch}, epoch * 10)
    ledger.note("other", 0, 0)
    expected = [({"epoch": e}, e * 10) for e in (2, 0, 1)]
    assert ledger.of_kind("epoch") == expected
    assert Ledger(tmp_path).of_kind("epoch") == expected


def test_an_adopted_value_is_replayed_and_kept(tmp_path):
    earlier = three(None)
    earlier.note("epoch", 0, 1)
    ledger = Ledger(tmp_path)
    ledger.adopt(earlier, ("time",))
    assert ledger.remember("time", {"net": 2}, never) == 0.5
    assert Ledger(tmp_path).remember("time", {"net": 1}, never) == 0.25
    assert ledger.of_kind("epoch") == []


def test_a_fresh_ledger_leaves_the_earlier_one_until_it_settles(tmp_path):
    three(tmp_path)
    before = (tmp_path / "ledger.jsonl").read_bytes()
    fresh = Ledger(tmp_path, fresh=True)
    assert fresh.remember("time", {"net": 0}, lambda: 9) == 9
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
    fresh.settle()
    fresh.note("epoch", 0, 1)
    assert Ledger(tmp_path).remember("time", {"net": 0}, never) == 9
    assert os.listdir(tmp_path) == ["ledger.jsonl"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(b"0.25", b"0.26"),
        lambda line: line[:-1],
        lambda line: b"",
        lambda line: b"[1, 2]",
        lambda line: b"3",
        lambda line: b"\xff\xfe",
        lambda line: b'{"check": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}',
        lambda line: b'{"value": 1}',
        lambda line: b"[" * 100_000,
    ],
)
def test_a_damaged_line_is_named_by_its_number(tmp_path, damage):
    path = three(tmp_path).path
    lines = path.read_bytes().split(b"\n")
    lines[1] = damage(lines[1])
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ConfigError, match=r"ledger.jsonl: line 2 is damaged"):
        Ledger(tmp_path)


def test_a_half_line_left_by_a_crash_is_measured_again(tmp_path):
    path = three(tmp_path).path
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in (last + 1, len(whole) - 20, len(whole) - 1):
        path.write_bytes(whole[:cut])
        ledger = Ledger(tmp_path)
        assert ledger.remember("time", {"net": 1}, never) == 0.25
        assert ledger.remember("time", {"net": 2}, lambda: 0.5) == 0.5
        assert path.read_bytes() == whole


FULL_DISK = """
import resource, sys
from pathlib import Path
from wieldy.core.errors import StorageError
from wieldy.core.ledger import Ledger
folder = Path(sys.argv[1])
size = (folder / "ledger.jsonl").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, size + 100))  # no room for a whole line
try:
    Ledger(folder).remember("time", {"net": 3}, lambda: 0.75)
except StorageError as error:
    print(error)
"""


def test_a_full_disk_leaves_no_half_line(tmp_path):
    path = three(tmp_path).path
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True)
    assert "ledger.jsonl: could not be written (No space left on device)" in done.stdout, done.stderr
    assert path.read_bytes() == before


def test_a_missing_folder_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="could not be written"):
        Ledger(tmp_path / "none").note("a", 0, 0)


def test_each_line_says_what_it_is(tmp_path):
    line = json.loads(three(tmp_path).path.read_text().splitlines()[1])
    assert (line["kind"], line["key"], line["value"]) == ("time", {"net": 1}, 0.25)
