"""Each attack is refused by the error that names it, in little time and memory, unless a check is broken."""

import forged
import pytest

from wieldy.core import errors
from wieldy.core.errors import PackageError
from wieldy.graph.ops import OPS


@pytest.mark.parametrize("path", forged.ATTACKS, ids=lambda path: path.stem)
def test_an_attack_is_refused_by_its_own_error_in_little_time_and_memory(path, tmp_path):
    attack, target = forged.attack(path), tmp_path / "net.wieldy"
    attack.forge(target)
    found = forged.attempt(target)
    assert found.error == attack.ERROR, found
    assert issubclass(getattr(errors, attack.ERROR), PackageError)
    assert str(target) in found.message
    assert found.message.isprintable(), found.message
    assert found.seconds <= forged.MOST_SECONDS, found
    assert found.megabytes <= forged.MOST_MEGABYTES, found


@pytest.mark.parametrize("form", ["dense", "csr", "int8", "int8_1x4"])
def test_what_attacks_are_made_of_is_sound(form, tmp_path):
    forged.sound_parts(form).write(tmp_path / "net.wieldy")
    found = forged.attempt(tmp_path / "net.wieldy")
    assert found.error is None, found
    assert found.seconds <= forged.MOST_SECONDS


def test_there_are_at_least_forty_numbered_in_order():
    assert len(forged.ATTACKS) >= 40
    assert [path.name[:2] for path in forged.ATTACKS] == [
        f"{k:02d}" for k in range(1, len(forged.ATTACKS) + 1)
    ]


BROKEN = {  # a check that is left out, and the attacks that then come through, or end in another error
    "digest": ("wieldy.package.read._check_digest", ("21_wrong_digest",)),
    "index range": ("wieldy.formats.sparse.check_inside", ("67_column_outside",)),
    "index range of levels": ("wieldy.formats.level_blocks.check_inside", ("68_block_outside",)),
    "operators": ("wieldy.graph.soundness._check_arguments", ("36_wrong_argument",)),
}


@pytest.mark.parametrize("check", BROKEN)
def test_a_check_that_is_left_out_turns_its_attack_red(check, tmp_path, monkeypatch):
    place, names = BROKEN[check]
    monkeypatch.setattr(place, lambda *_: None)
    for name in names:
        attack = forged.attack(tmp_path / name)
        attack.forge(tmp_path / "net.wieldy")
        assert forged.opened(tmp_path / "net.wieldy").error != attack.ERROR


ALLOWED = {  # operators that must never be, and their arguments
    "33_unknown_operator": ("os.system", (("self", "value"),)),
    "34_operator_opens_file": ("aten.from_file.default", (("filename", "/etc/passwd|"),)),
    "35_look_alike_operator": ("aten.r\N{CYRILLIC SMALL LETTER IE}lu.default", (("self", "value"),)),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_an_allow_list_with_one_operator_more_turns_its_attack_red(name, tmp_path, monkeypatch):
    attack = forged.attack(tmp_path / name)
    attack.forge(tmp_path / "net.wieldy")
    assert forged.opened(tmp_path / "net.wieldy").error == attack.ERROR
    operator, arguments = ALLOWED[name]
    monkeypatch.setitem(OPS, operator, arguments)
    assert forged.opened(tmp_path / "net.wieldy").error != attack.ERROR
