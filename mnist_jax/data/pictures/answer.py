"""The answer to a picture as plain values (no JAX)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float


def describe_answer(
    probabilities: Float[np.ndarray, " classes"], labels: Sequence[int | str], doubt: str, top: int = 1
) -> dict[str, Any]:
    """Puts an answer into plain values, for JSON.

    Args:
        probabilities: of each class, float32.
        labels: what stands for each class.
        doubt: why the answer is not to be trusted (`doubt.find_doubt`), or nothing.
        top: how many classes to list, the likeliest first; 1 for no list.

    Returns:
        ``{"label", "probability", "probabilities", "unsure", "reason"}``, with ``top`` where there is a list.
    """
    ranked = [
        {"label": labels[i], "probability": float(probabilities[i])}
        for i in (-probabilities).argsort(kind="stable")
    ]
    row = {**ranked[0], "probabilities": [float(p) for p in probabilities]}
    row |= {"unsure": bool(doubt), "reason": doubt}
    return row if top == 1 else {**row, "top": ranked[:top]}
