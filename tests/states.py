"""A state of step 0 from the parts of a run, for tests that need no more of one."""

from typing import Any

import jax

from mnist_jax.training.state import TrainState, jit_initial_state


def create_train_state(key: jax.Array, *args: Any, **settings: Any) -> TrainState:
    """Computes ``initial_state`` of the same arguments."""
    return jit_initial_state(*args, **settings)(key)
