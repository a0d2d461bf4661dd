"""What the user asks for."""

import re
from typing import Self

from pydantic import Field, model_validator

from wieldy.core.config import Frozen
from wieldy.core.errors import ConfigError
from wieldy.core.records import Timing

SHARE = r"\s*(\d+(?:\.\d+)?)\s*%\s*"
LATENCY = r"\s*(\d+(?:\.\d+)?)\s*(%|ms)\s*"
SHORT = ("latency", "macs", "bytes")  # goals as a recipe or the command line may write them


class Budget(Frozen):
    """Goals that a package has to meet, all of them.

    Args:
        latency_ratio: milliseconds of the package over those of the original, in OpenVINO fp32 on the same
            threads, tier and batch; in (0, 1].
        latency_ms: milliseconds of the package.
        macs_ratio: multiply-accumulates of the package over those of the original.
        bytes_ratio: bytes of the package over those of the original.
        bytes: bytes of the package.
        max_drop_points: how many points of the metric may be lost; a point is a hundredth of its scale.

    Raises:
        ConfigError: no goal, a goal out of range, or a time or a size given twice.

    Example:
        >>> Budget(latency_ratio=0.5).goals()
        'at most 50 % of the milliseconds'
    """

    latency_ratio: float | None = Field(default=None, gt=0, le=1)
    latency_ms: float | None = Field(default=None, gt=0)
    macs_ratio: float | None = Field(default=None, gt=0, le=1)
    bytes_ratio: float | None = Field(default=None, gt=0, le=1)
    bytes: int | None = Field(default=None, gt=0)
    max_drop_points: float = Field(default=1.0, ge=0, le=100)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.latency_ratio and self.latency_ms:
            raise ValueError("give latency_ratio or latency_ms, not both")
        if self.bytes_ratio and self.bytes:
            raise ValueError("give bytes_ratio or bytes, not both")
        if not any((self.latency_ratio, self.latency_ms, self.macs_ratio, self.bytes_ratio, self.bytes)):
            raise ValueError("give at least one goal for time, multiply-accumulates or bytes")
        return self

    def goals(self) -> str:
        """Return the goals as one phrase."""
        parts = []
        if self.latency_ratio:
            parts.append(f"at most {100 * self.latency_ratio:g} % of the milliseconds")
        if self.latency_ms:
            parts.append(f"at most {self.latency_ms:g} ms")
        if self.macs_ratio:
            parts.append(f"at most {100 * self.macs_ratio:g} % of the multiply-accumulates")
        if self.bytes_ratio:
            parts.append(f"at most {100 * self.bytes_ratio:g} % of the bytes")
        if self.bytes:
            parts.append(f"at most {self.bytes:,} bytes")
        return ", ".join(parts)

    @property
    def asks_time(self) -> bool:
        """Whether a goal is one of time."""
        return bool(self.latency_ratio or self.latency_ms)

    def reached(
        self, timing: Timing, macs: tuple[int, int], sizes: tuple[int, int], *, surely: bool = False
    ) -> bool:
        """Whether figures meet every goal but the metric's.

        Args:
            timing: original against package.
            macs, sizes: multiply-accumulates and bytes of (original, package).
            surely: whether the upper end of the interval, too, must meet a goal of time.
        """
        return self.over(timing, macs, sizes, surely=surely) <= 1

    def over(
        self, timing: Timing, macs: tuple[int, int], sizes: tuple[int, int], *, surely: bool = True
    ) -> float:
        """Return the largest of what was measured over its goal.

        Arguments are those of `reached`.
        """
        time = self.time_over_goal(timing, surely=surely)
        return self._largest(time, macs[1] / macs[0], sizes[1] / sizes[0], sizes[1])

    def over_by_shares(
        self, shares: tuple[float, float, float], original_ms: float, original_bytes: int
    ) -> float:
        """Return the largest over its goal of what is only forecast.

        Args:
            shares: milliseconds, bytes and multiply-accumulates over the original's.
            original_ms, original_bytes: what they are shares of.
        """
        ms, sizes, macs = shares
        time = self._time_over_goal(ms, ms * original_ms)
        return self._largest(time, macs, sizes, sizes * original_bytes)

    def _largest(self, time: float, macs_ratio: float, bytes_ratio: float, size: float) -> float:
        """Return the largest over its goal, the metric's left out; the time is that already."""
        goals = ((self.macs_ratio, macs_ratio), (self.bytes_ratio, bytes_ratio), (self.bytes, size))
        return max([time, *(value / goal for goal, value in goals if goal is not None)])

    def time_over_goal(self, timing: Timing, *, surely: bool = False) -> float:
        """Return the time over what is asked of it, or 0 where nothing is.

        Args:
            surely: take the upper end of the interval.
        """
        ratio = timing.ratio
        worse = ratio.high / ratio.value if surely else 1.0
        return worse * self._time_over_goal(ratio.value, timing.small_ms)

    def _time_over_goal(self, ratio: float, ms: float) -> float:
        if self.latency_ratio:
            return ratio / self.latency_ratio
        return ms / self.latency_ms if self.latency_ms else 0.0


def parse_goal(name: str, value: object) -> dict[str, object]:
    """Read one of `SHORT`: a share such as `50%` or, of a time or bytes, what may be used of them.

    Example:
        >>> parse_goal("latency", "0.5ms"), parse_goal("bytes", "20%"), parse_goal("bytes", 9000)
        ({'latency_ms': 0.5}, {'bytes_ratio': 0.2}, {'bytes': 9000})
    """
    if name == "latency":
        return {**parse_latency(str(value))}
    found = re.fullmatch(SHARE, str(value))
    if found:
        return {f"{name}_ratio": _ratio(name, found[1])}
    if name == "bytes" and str(value).strip().isdecimal():
        return {"bytes": value}
    also = " or a whole number" if name == "bytes" else ""
    raise ConfigError(f"{name}: must be a share such as 20%{also}; got {value!r}.")


def parse_latency(text: str) -> dict[str, float]:
    """Read `50%` or `0.5ms`; a bare number is refused, since it could mean either.

    Example:
        >>> parse_latency("50%"), parse_latency("0.5 ms")
        ({'latency_ratio': 0.5}, {'latency_ms': 0.5})
    """
    found = re.fullmatch(LATENCY, text)
    if not found:
        raise ConfigError(f"latency: must be a share such as 50% or a time such as 0.5ms; got {text!r}.")
    if found[2] == "%":
        return {"latency_ratio": _ratio("latency", found[1])}
    return {"latency_ms": float(found[1])}


def _ratio(name: str, percent: str) -> float:
    ratio = float(percent) / 100
    if not 0 < ratio <= 1:
        raise ConfigError(
            f"{name}: a share must be above 0 % and at most 100 % of the original's; got {percent} %."
        )
    return ratio
