"""What the user asks for."""

import re
from typing import Self

from pydantic import Field, model_validator

from wieldy.core.config import Frozen
from wieldy.core.errors import ConfigError
from wieldy.core.records import Timing

LATENCY = r"\s*(\d+(?:\.\d+)?)\s*(%|ms)\s*"


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
        limits = self._limits(timing, macs, sizes, surely=surely)
        return all(value <= limit for limit, value in limits)

    def over(self, timing: Timing, macs: tuple[int, int], sizes: tuple[int, int]) -> float:
        """Return the largest of what was measured over its goal, for time at the upper end of its interval.

        Arguments are those of `reached`.
        """
        return max(value / limit for limit, value in self._limits(timing, macs, sizes, surely=True))

    def _limits(
        self, timing: Timing, macs: tuple[int, int], sizes: tuple[int, int], *, surely: bool
    ) -> list[tuple[float, float]]:
        """Return each goal but the metric's with what was measured of it."""
        limits = (
            (1, self.time_over_goal(timing, surely=surely)),
            (self.macs_ratio, macs[1] / macs[0]),
            (self.bytes_ratio, sizes[1] / sizes[0]),
            (self.bytes, sizes[1]),
        )
        return [(limit, value) for limit, value in limits if limit is not None]

    def time_over_goal(self, timing: Timing, *, surely: bool = False) -> float:
        """Return the time over what is asked of it, or 0 where nothing is.

        Args:
            surely: take the upper end of the interval.
        """
        ratio = timing.ratio
        worse = ratio.high / ratio.value if surely else 1.0
        if self.latency_ratio:
            return worse * ratio.value / self.latency_ratio
        return worse * timing.small_ms / self.latency_ms if self.latency_ms else 0.0


def parse_latency(text: str) -> dict[str, float]:
    """Read `50%` or `0.5ms`; a bare number is refused, since it could mean either.

    Example:
        >>> parse_latency("50%"), parse_latency("0.5 ms")
        ({'latency_ratio': 0.5}, {'latency_ms': 0.5})
    """
    found = re.fullmatch(LATENCY, text)
    if not found:
        raise ConfigError(f"latency: must be a share such as 50% or a time such as 0.5ms; got {text!r}.")
    value = float(found[1])
    return {"latency_ratio": value / 100} if found[2] == "%" else {"latency_ms": value}
