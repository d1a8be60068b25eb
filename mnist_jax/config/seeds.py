"""How a list of seeds is written: ``0:30``, ``3,5,8``, or both mixed."""

import re

from mnist_jax.errors import ConfigError

_ITEM = r"\d{1,10}(:\d{1,10})?"
SEEDS_PATTERN = rf"{_ITEM}(,{_ITEM})*"
SEEDS_MEANS = "seeds such as 0:30 (0 to 29) or 3,5,8"

_LARGEST = 2**32 - 1
_MOST = 10_000


def parse_seeds(text: str) -> tuple[int, ...]:
    """Reads a list of seeds in the order they are written.

    Args:
        text: such as ``0:30`` or ``3,5,8``; ``a:b`` stands for a, a + 1, ..., b - 1.

    Raises:
        ConfigError: for other text, an empty range, a seed named twice, one beyond 32 bits, or more than
            10,000 of them.
    """
    if not re.fullmatch(SEEDS_PATTERN, text):
        raise ConfigError([f"seeds: got {text!r}; expected {SEEDS_MEANS}"])
    seeds: list[int] = []
    for item in text.split(","):
        first, colon, stop = item.partition(":")
        numbers = range(int(first), int(stop)) if colon else range(int(first), int(first) + 1)
        if not numbers:
            raise ConfigError([f"seeds: {item!r} names no seed; expected the first below the second"])
        if numbers[-1] > _LARGEST:
            raise ConfigError([f"seeds: {numbers[-1]} is too large; expected at most {_LARGEST}"])
        if len(seeds) + len(numbers) > _MOST:
            raise ConfigError([f"seeds: {text!r} names more than {_MOST} seeds; expected fewer"])
        seeds.extend(numbers)
    if len(set(seeds)) < len(seeds):
        repeated = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise ConfigError([f"seeds: {repeated} is named twice; expected each seed once"])
    return tuple(seeds)
