"""METHODS: the one table of methods, keyed by the type of their config."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from wieldy.core.errors import ConfigError
from wieldy.formats.level_blocks import INPUTS
from wieldy.methods.contract import MethodConfig
from wieldy.methods.factor import svd
from wieldy.methods.prune import (
    directional,
    guided,
    lobs,
    magnitude,
    pivot,
    random,
    spp,
    ssl,
    taylor,
    zeros,
)  # fmt: skip
from wieldy.methods.quantize import integer
from wieldy.methods.share import unify


@dataclass(frozen=True)
class Method:
    """One entry: its name in recipes, its shape, what it does and what it has to be handed.

    `in_loss`: its scores are changes of the loss, so dividing them by what a channel costs has a meaning.
    """

    name: str
    shape: Literal["score", "transform", "hook"]
    apply: Callable[..., Any]
    needs_stats: bool = False
    in_loss: bool = False


METHODS: dict[type[MethodConfig], Method] = {
    magnitude.MagnitudeConfig: Method("magnitude", "score", magnitude.score),
    taylor.TaylorConfig: Method("taylor", "score", taylor.score, needs_stats=True, in_loss=True),
    random.RandomConfig: Method("random", "score", random.score),
    zeros.ZerosConfig: Method(zeros.NAME, "transform", zeros.apply),
    lobs.LobsConfig: Method(lobs.NAME, "transform", lobs.apply, needs_stats=True),
    ssl.SslConfig: Method(ssl.NAME, "hook", ssl.Ssl),
    spp.SppConfig: Method(spp.NAME, "hook", spp.Spp),
    directional.DirectionalConfig: Method(directional.NAME, "hook", directional.Directional),
    pivot.PivotConfig: Method(pivot.NAME, "hook", pivot.Pivot),
    guided.GuidedConfig: Method(guided.NAME, "hook", guided.Guided),
    unify.UnifyConfig: Method(unify.NAME, "hook", unify.Unify),
    svd.SvdConfig: Method(svd.NAME, "transform", svd.apply, needs_stats=True),
    integer.IntegerConfig: Method(integer.NAME, "transform", integer.apply, needs_stats=True),
}


def settings_of(config: MethodConfig) -> dict[str, Any]:
    """Return a method's settings as records hold them, its name first.

    Example:
        >>> settings_of(random.RandomConfig(seed=3))
        {'name': 'random', 'seed': 3}
    """
    return {"name": METHODS[type(config)].name} | config.model_dump()


def may_leave_zeros(config: MethodConfig) -> bool:
    """Return whether weights of layers that stay may be zero after a method.

    Example:
        >>> may_leave_zeros(zeros.ZerosConfig()), may_leave_zeros(svd.SvdConfig())
        (True, False)
    """
    return METHODS[type(config)].shape != "score" and not isinstance(
        config, svd.SvdConfig | integer.IntegerConfig
    )


def leaves_level_blocks(config: MethodConfig) -> bool:
    """Return whether the zeros of a method are whole blocks that eight bits leave out.

    Example:
        >>> leaves_level_blocks(zeros.ZerosConfig()), leaves_level_blocks(zeros.ZerosConfig(inputs=4))
        (False, True)
    """
    return (
        isinstance(config, zeros.ZerosConfig | lobs.LobsConfig | pivot.PivotConfig)
        and config.inputs == INPUTS
    )


def by_name(name: str) -> type[MethodConfig]:
    """Return the config type of the method called `name` in a recipe.

    Raises:
        ConfigError: there is none.

    Example:
        >>> by_name("random").__name__
        'RandomConfig'
    """
    for kind, method in METHODS.items():
        if method.name == name:
            return kind
    raise ConfigError(f"method: must be one of {', '.join(m.name for m in METHODS.values())}; got {name!r}.")
