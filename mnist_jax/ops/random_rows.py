"""Some rows of what would be drawn for a whole batch, for a device that has only those."""

import math

import jax
import jax.extend.random
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, UInt32


def can_start_at_a_row(key: Key[Array, ""]) -> bool:
    """Whether `start_at_row` takes this key: one of JAX' default generator, which numbers what it draws."""
    return str(jax.random.key_impl(key)) == "threefry2x32" and bool(
        jax.config.values.get("jax_threefry_partitionable")
    )


def start_at_row(key: Key[Array, ""], row: Int[Array, ""] | int) -> Key[Array, ""]:
    """Returns a key with which an array is drawn as its rows from ``row`` on are with ``key``.

    For arrays of up to 2^32 numbers, all rows counted.
    """
    data = jnp.append(jax.random.key_data(key), jnp.uint32(row))
    return jax.random.wrap_key_data(data, impl=_FROM_A_ROW)


def _random_bits(data: UInt32[Array, "3"], bit_width: int, shape: tuple[int, ...]) -> Array:
    """As JAX' own, whose number ``i`` is the hash of ``i``, with ``i`` from the row's first number on."""
    counts = data[2] * jnp.uint32(math.prod(shape[1:])) + jnp.arange(math.prod(shape), dtype=jnp.uint32)
    counts = jnp.concatenate([jnp.zeros_like(counts), counts])
    high, low = jnp.split(jax.extend.random.threefry_2x32((data[0], data[1]), counts), 2)
    if bit_width == 64:
        return ((high.astype(jnp.uint64) << 32) | low).reshape(shape)
    return (high ^ low).astype(f"uint{bit_width}").reshape(shape)


def _refuse(*arguments: object) -> Array:
    raise NotImplementedError("a key that starts at a row draws one array; split the key that it was made of")


_FROM_A_ROW = jax.extend.random.define_prng_impl(
    key_shape=(3,),
    seed=_refuse,
    split=_refuse,
    random_bits=_random_bits,
    fold_in=_refuse,
    name="threefry2x32_from_a_row",
    tag="row",
)
