import sys

import pytest

from wieldy.core.errors import ConfigError, TierError
from wieldy.runtime import tier
from wieldy.runtime.tier import CAP, CAPS, NEEDS, OLD_CAP

CLIENT = NEEDS["avx2_vnni"]
SERVER = NEEDS["amx"] | NEEDS["avx2_vnni"]


@pytest.fixture(autouse=True)
def no_cap(monkeypatch):
    for name in (CAP, OLD_CAP):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cpu(monkeypatch):
    """Let this CPU have exactly some flags."""
    return lambda flags: monkeypatch.setattr(tier, "cpu_flags", lambda: frozenset(flags))


@pytest.mark.parametrize("name", NEEDS)
def test_a_cpu_with_exactly_a_tier_s_flags_is_of_that_tier(cpu, name):
    cpu(NEEDS[name])
    assert tier.best_tier() == tier.current_tier() == name


@pytest.mark.parametrize("name", NEEDS)
def test_one_missing_flag_is_a_lesser_tier(cpu, name):
    for flag in NEEDS[name]:
        cpu(NEEDS[name] - {flag})
        assert tier.best_tier() != name


def test_the_tiers_to_be_had_are_those_below_that_can_be_capped_to_and_the_cpu_s_own(cpu):
    cpu(SERVER)
    assert tier.available_tiers() == ["avx2", "avx2_vnni", "avx512", "avx512_vnni", "amx"]
    cpu(CLIENT)
    assert tier.available_tiers() == ["avx2", "avx2_vnni"]
    cpu(())
    assert tier.available_tiers() == ["portable"]


@pytest.mark.parametrize("variable", [CAP, OLD_CAP])
@pytest.mark.parametrize("spell", [str.upper, str.lower])
@pytest.mark.parametrize("name", CAPS)
def test_a_cap_in_the_environment_is_the_tier_that_runs(cpu, monkeypatch, variable, spell, name):
    cpu(SERVER)
    monkeypatch.setenv(variable, spell(CAPS[name]))
    assert tier.current_tier() == name


@pytest.mark.parametrize("value", ["", "all", "DEFAULT"])
def test_no_cap_leaves_the_cpu_s_own_tier(cpu, monkeypatch, value):
    cpu(SERVER)
    monkeypatch.setenv(CAP, value)
    assert tier.current_tier() == "amx"


@pytest.mark.parametrize(("flags", "found"), [(CLIENT, "avx2"), (NEEDS["avx2"], "avx2"), ((), "portable")])
def test_a_cap_above_the_cpu_gives_the_cpu_nothing(cpu, monkeypatch, flags, found):
    cpu(flags)
    monkeypatch.setenv(CAP, "AVX512_CORE_VNNI")
    assert tier.current_tier() == found


def test_a_cap_to_none_of_our_tiers_is_refused_instead_of_misnamed(cpu, monkeypatch):
    cpu(SERVER)
    monkeypatch.setenv(CAP, "SSE41")
    with pytest.raises(TierError, match=r"ONEDNN_MAX_CPU_ISA: must be unset or one of AVX2.*; got 'SSE41'"):
        tier.current_tier()


def test_without_cap_keeps_everything_else():
    assert tier.without_cap({CAP: "AVX2", OLD_CAP: "AVX2", "HOME": "/"}) == {"HOME": "/"}


@pytest.mark.parametrize("name", ["avx512", "amx", "portable", "AVX2", ""])
def test_a_tier_that_this_cpu_lacks_is_refused_with_those_it_has(cpu, name):
    cpu(CLIENT)
    with pytest.raises(TierError, match=f"must be one of avx2, avx2_vnni on this CPU; got '{name}'"):
        tier.check_tier(name)


def test_bf16_is_native_where_the_cpu_says_so_and_nothing_caps_it(cpu):
    cpu(SERVER)
    assert [name for name in NEEDS if tier.has_bf16(name)] == ["amx"]
    cpu(NEEDS["avx512_vnni"] | {"avx512_bf16"})
    assert [name for name in tier.available_tiers() if tier.has_bf16(name)] == ["avx512_vnni"]
    cpu(NEEDS["avx512_vnni"])
    assert not any(tier.has_bf16(name) for name in tier.available_tiers())


def test_a_precision_must_be_known_and_native(cpu):
    cpu(SERVER)
    tier.check_precision("f32", "avx2")
    tier.check_precision("bf16", "amx")
    with pytest.raises(TierError, match="bf16 is not native on the tier 'avx512_vnni'"):
        tier.check_precision("bf16", "avx512_vnni")
    with pytest.raises(ConfigError, match="got 'f16'"):
        tier.check_precision("f16", "amx")


def test_capping_before_first_use_sets_the_environment(cpu, monkeypatch):
    cpu(SERVER)
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    monkeypatch.setenv(OLD_CAP, "AVX512_CORE")
    tier.cap_process("avx2")
    assert tier.current_tier() == "avx2"
    tier.cap_process("amx")
    assert tier.current_tier() == "amx"


def test_capping_after_first_use_is_refused_unless_nothing_changes(cpu, monkeypatch):
    cpu(SERVER)
    monkeypatch.setitem(sys.modules, "openvino", tier)
    tier.cap_process("amx")
    with pytest.raises(TierError, match=r"already uses 'amx'.*`wieldy bench --tier avx2`"):
        tier.cap_process("avx2")


def test_this_machine_has_a_tier_and_a_name():
    assert tier.best_tier() in tier.available_tiers()
    assert tier.cpu_name()
