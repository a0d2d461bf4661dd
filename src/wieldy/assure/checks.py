"""How closely saved files are looked at."""

from collections.abc import Iterable

from pydantic import Field, field_validator

from wieldy.assure.floors import limit_of, parse_floor
from wieldy.core.config import Frozen
from wieldy.core.errors import ConfigError

EPSILONS = (1 / 255, 2 / 255, 4 / 255, 8 / 255)  # of pixels in [0, 1]


class Checks(Frozen):
    """How closely the saved files are looked at.

    Args:
        corruptions: test examples under each of 15 corruptions at 5 severities; 0 leaves them out.
        attacks: test examples that are attacked.
        outside: test examples, and as many from every set outside the distribution.
        bounds: test examples around which bounds are computed.
        epsilons: radii of attacks and bounds, in pixels between 0 and 1 or, where inputs are no pictures, as
            the inputs are.
        floors: the most of a loss that is allowed, by the name of a figure: a number, or a percentage. Of
            points, 1% is one point.

    Raises:
        ConfigError: a number below 0, an unknown floor, or one that is no number.

    Example:
        >>> Checks(floors={"flips": "1%"}).limits()
        {'flips': 0.01}
    """

    corruptions: int = Field(default=60, ge=0, le=1000)
    attacks: int = Field(default=60, ge=0, le=1000)
    outside: int = Field(default=300, ge=0, le=1000)
    bounds: int = Field(default=5, ge=0, le=1000)
    epsilons: tuple[float, ...] = Field(default=EPSILONS, min_length=1)
    floors: dict[str, str | float] = Field(default_factory=dict)

    @field_validator("epsilons")
    @classmethod
    def _ascend(cls, epsilons: tuple[float, ...]) -> tuple[float, ...]:
        if any(value <= 0 for value in epsilons) or sorted(set(epsilons)) != list(epsilons):
            raise ValueError("must be above 0 and ascend")
        return epsilons

    @field_validator("floors")
    @classmethod
    def _are_known(cls, floors: dict[str, str | float]) -> dict[str, str | float]:
        for name, limit in floors.items():
            try:
                limit_of(name, limit)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return floors

    def limits(self) -> dict[str, float]:
        """Return the floors as numbers."""
        return {name: limit_of(name, limit) for name, limit in self.floors.items()}

    def asking(self, floors: Iterable[str]) -> "Checks":
        """Return the same with more floors, each as `name=limit`."""
        return self.model_copy(update={"floors": {**self.floors, **dict(map(parse_floor, floors))}})
