"""An ensemble as one network: its answer is the mean of its members' probabilities."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


class SoftVote(nn.Module):
    """The soft vote of several networks, as a module like any other.

    The variables of member ``i`` are below ``members_i`` in each collection, see `join_variables`.
    """

    members: tuple[nn.Module, ...]

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Returns float32 logits whose softmax is the mean of the members' probabilities."""
        members = jnp.stack([jax.nn.log_softmax(member(images, train=train)) for member in self.members])
        return jax.nn.logsumexp(members, axis=0) - jnp.log(float(len(self.members)))


def make_soft_vote(members: Sequence[nn.Module]) -> SoftVote:
    """Makes the vote of networks, each with variables of its own even where two are the same object."""
    return SoftVote(tuple(member.clone() for member in members))


def join_variables(members: Sequence[dict[str, PyTree]]) -> dict[str, PyTree]:
    """Puts the variables of the members, in the order of ``SoftVote.members``, together as it wants them."""
    collections = {name for variables in members for name in variables}
    return {
        name: {f"members_{i}": variables[name] for i, variables in enumerate(members) if name in variables}
        for name in sorted(collections)
    }
