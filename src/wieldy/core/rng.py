"""Seeds derived by name, so that adding one source of randomness never shifts another."""

import hashlib

import numpy as np

from wieldy.core.errors import ConfigError

MAX_SEED = 2**32


def derive(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed that depends on `seed` and every one of `names`, in order.

    Example:
        >>> derive(0, "fit", 3) == derive(0, "fit", 3) != derive(0, "fit", 4)
        True
    """
    if not 0 <= seed < MAX_SEED:
        raise ConfigError(f"seed: must be a whole number from 0 to {MAX_SEED - 1}; got {seed}.")
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return an independent numpy generator for the purpose that `names` spell out."""
    return np.random.default_rng(derive(seed, *names))
