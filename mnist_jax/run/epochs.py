"""What the network looked like after each epoch: norms of its layers, filters of its first convolution.

Kept in ``epochs.npz``, a few kilobytes, rewritten in one step at the end of each epoch. Read from the state
between two calls to the device, so nothing that is computed changes.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, PyTree

from mnist_jax.storage.json_files import replace_file
from mnist_jax.storage.npz_files import load_arrays
from mnist_jax.training.state import TrainState

EPOCHS_FILE = "epochs.npz"
# Numbers of a first convolution above which its filters are not kept: 64 KiB an epoch.
_LARGEST_KERNEL = 2**14


@dataclass(frozen=True)
class EpochRecord:
    """The rows of ``epochs.npz``, oldest first; epoch 0 is the network as it was initialized."""

    step: Int[np.ndarray, " epochs"]
    epoch: Int[np.ndarray, " epochs"]
    layers: tuple[str, ...]  # those with weights, conv0 and so on
    weight_norm: Float[np.ndarray, "epochs layers"]  # L2, of the kernel as trained
    # Root mean square over the last steps (about 1 / (1 - b2) of them) of the L2 norm of the gradient by the
    # kernel, which Adam's second moment tells; NaN without one.
    gradient_norm: Float[np.ndarray, "epochs layers"]
    kernel_layer: str  # empty for a network without convolutions, or with a first one that is too large
    kernel_epoch: Int[np.ndarray, " kept"]  # all up to 16, then eight for each doubling
    # Of the variables that are evaluated: with the moving average where there is one.
    kernels: Float[np.ndarray, "kept height width inputs outputs"]

    def until(self, step: int) -> "EpochRecord":
        """The rows up to a step."""
        rows = self.step <= step
        kept = np.isin(self.kernel_epoch, self.epoch[rows])
        return EpochRecord(
            self.step[rows],
            self.epoch[rows],
            self.layers,
            self.weight_norm[rows],
            self.gradient_norm[rows],
            self.kernel_layer,
            self.kernel_epoch[kept],
            self.kernels[kept],
        )

    def followed_by(self, row: "EpochRecord") -> "EpochRecord":
        """These rows and another one, of the same network."""
        joined: dict[str, Any] = {
            field.name: value
            if isinstance(value := getattr(row, field.name), str | tuple)
            else np.concatenate([getattr(self, field.name), value])
            for field in fields(self)
        }
        return EpochRecord(**joined)


class EpochWriter:
    """Adds a row to ``epochs.npz`` at the end of each epoch.

    A run that resumes keeps the rows up to its step and writes the others once more, the same bit for bit.
    """

    def __init__(self, folder: Path, *, resume_step: int, adam_b2: float | None, enabled: bool = True):
        """Reads what there is.

        Args:
            folder: of the run.
            resume_step: the step that the run goes on from; 0 starts anew.
            adam_b2: decay of the mean of squared gradients, where the optimizer keeps one.
            enabled: False for processes other than the first.
        """
        self._path, self._b2, self._enabled = folder / EPOCHS_FILE, adam_b2, enabled
        self._rows: EpochRecord | None = None
        if enabled and resume_step:
            # A damaged file is begun anew: the run itself does not depend on it.
            self._rows = read_epochs(folder)
            if self._rows is not None:
                self._rows = self._rows.until(resume_step)

    def write(self, state: TrainState, step: int, epoch: int) -> None:
        """Adds the row of an epoch that has just ended.

        Raises:
            RunError: the disk refuses; the file is as it was.
        """
        if not self._enabled:
            return
        row = _describe(state, step, epoch, self._b2)
        rows = self._rows
        same = rows is not None and (rows.layers, rows.kernels.shape[1:]) == (
            row.layers,
            row.kernels.shape[1:],
        )
        self._rows = rows.followed_by(row) if rows is not None and same else row
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {
            field.name: np.asarray(getattr(self._rows, field.name)) for field in fields(EpochRecord)
        }
        np.savez(buffer, **arrays)
        replace_file(self._path, buffer.getvalue())


def read_epochs(folder: Path) -> EpochRecord | None:
    """Reads ``epochs.npz`` of a run; None where there is none that can be read."""
    try:
        arrays: dict[str, Any] = {}
        arrays |= load_arrays(folder / EPOCHS_FILE, [field.name for field in fields(EpochRecord)])
        layers, kernel_layer = tuple(arrays["layers"].tolist()), str(arrays["kernel_layer"])
        return EpochRecord(**{**arrays, "layers": layers, "kernel_layer": kernel_layer})
    except (OSError, ValueError):
        return None


def _describe(state: TrainState, step: int, epoch: int, b2: float | None) -> EpochRecord:
    weights = dict(_kernels(state.params))
    moments = _adam_state(state)
    gradients = np.full(len(weights), np.nan)
    if moments is not None and b2 is not None and (updates := int(moments.count)):
        squares = [np.sum(leaf, dtype=np.float64) for _, leaf in _kernels(moments.nu)]
        gradients = np.sqrt(np.array(squares) / (1.0 - b2**updates))
    first = _first_convolution(state.eval_variables()["params"])
    name, kernel = first if first else ("", np.zeros((0, 0, 0, 0), np.float32))
    kept = bool(first) and _is_kept(epoch)
    return EpochRecord(
        step=np.array([step]),
        epoch=np.array([epoch]),
        layers=tuple(weights),
        weight_norm=np.array(
            [[np.sqrt(np.sum(np.square(leaf, dtype=np.float64))) for leaf in weights.values()]]
        ),
        gradient_norm=gradients[None],
        kernel_layer=name,
        kernel_epoch=np.array([epoch] if kept else [], np.int64),
        kernels=kernel[None] if kept else np.zeros((0, *kernel.shape), np.float32),
    )


def _kernels(params: PyTree) -> Iterator[tuple[str, np.ndarray]]:
    """The weights with at least two axes, by the name of their layer, in the order of the tree."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if leaf.ndim > 1:
            names = [str(getattr(key, "key", key)) for key in path]
            yield "/".join(names[:-1] if names[-1] == "kernel" else names), np.asarray(leaf)


def _first_convolution(params: PyTree) -> tuple[str, np.ndarray] | None:
    for name, kernel in _kernels(params):
        if kernel.ndim == 4:
            return (name, np.asarray(kernel, np.float32)) if kernel.size <= _LARGEST_KERNEL else None
    return None


def _adam_state(state: TrainState) -> Any:
    """The part of the optimizer's state with the mean of squared gradients, ``nu``, or None."""
    wanted: Any = jax.tree.structure(state.params)

    def is_adam(node: Any) -> bool:
        return all(hasattr(node, name) for name in ("nu", "count")) and wanted == jax.tree.structure(node.nu)

    found = [node for node in jax.tree.leaves(state.opt_state, is_leaf=is_adam) if is_adam(node)]
    return found[0] if len(found) == 1 else None


def _is_kept(epoch: int) -> bool:
    """All epochs up to 16, then eight for each doubling: the same however long the run is to be."""
    return epoch % 2 ** max(0, epoch.bit_length() - 4) == 0
