"""Writes tiny_training.npz beside it: three training steps of a tiny network, in NumPy's float64 alone.

Nothing here is shared with the package: sums are written out by their definitions, and gradients come from
complex-step differentiation (Squire and Trapp 1998: the imaginary part of f(p + ih) / h, exact to the last
digits), one parameter at a time, so there is no backward pass that could share a mistake with ours.

Run as python tests/golden/make_tiny_training_golden.py. Last made with NumPy 2.4.6.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

# Heights and widths differ, and the first pooling leaves a row and a column over.
IMAGE_SHAPE = (11, 9, 2)
NUM_CLASSES, BATCH_SIZE, NUM_STEPS = 3, 8, 3
FEATURES, POOL_AFTER, KERNEL_SIZE, DENSE_FEATURES = (2, 3), (0,), 3, 4
BATCH_NORM_MOMENTUM, BATCH_NORM_EPSILON = 0.9, 1e-3
# Epsilon is so large that rounding of a gradient which is zero (a bias before BatchNorm) moves nothing.
LEARNING_RATE, B1, B2, EPSILON, WEIGHT_DECAY = 1e-2, 0.9, 0.999, 1e-3, 0.1
LABEL_SMOOTHING, EMA_DECAY = 0.1, 0.15

Arrays = dict[str, np.ndarray]


def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    rows, cols = kernel.shape[:2]
    height, width = x.shape[1] - rows + 1, x.shape[2] - cols + 1
    out = 0
    for i in range(rows):
        for j in range(cols):
            out = out + np.einsum("bhwc,cf->bhwf", x[:, i : i + height, j : j + width], kernel[i, j])
    return out


def larger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(a.real >= b.real, a, b)


def pool(x: np.ndarray) -> np.ndarray:
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = x[:, :height, :width]
    return larger(larger(x[:, ::2, ::2], x[:, ::2, 1::2]), larger(x[:, 1::2, ::2], x[:, 1::2, 1::2]))


def forward(params: Arrays, stats: Arrays, images: np.ndarray, train: bool) -> tuple[np.ndarray, Arrays]:
    """Gives logits and the statistics after this batch."""
    new_stats = {}

    def normalize(x: np.ndarray, name: str) -> np.ndarray:
        mean, var = stats[f"{name}/mean"], stats[f"{name}/var"]
        if train:
            axes = tuple(range(x.ndim - 1))
            batch_mean = x.mean(axes)
            batch_var = ((x - batch_mean) ** 2).mean(axes)
            for kind, old, new in (("mean", mean, batch_mean), ("var", var, batch_var)):
                new_stats[f"{name}/{kind}"] = BATCH_NORM_MOMENTUM * old + (1 - BATCH_NORM_MOMENTUM) * new.real
            mean, var = batch_mean, batch_var
        scaled = (x - mean) / np.sqrt(var + BATCH_NORM_EPSILON)
        return scaled * params[f"{name}/scale"] + params[f"{name}/bias"]

    def relu(x: np.ndarray) -> np.ndarray:
        return np.where(x.real > 0, x, 0)

    x = images
    for i in range(len(FEATURES)):
        x = convolve(x, params[f"conv{i}/kernel"]) + params[f"conv{i}/bias"]
        x = relu(normalize(x, f"bn{i}"))
        if i in POOL_AFTER:
            x = pool(x)
    x = x.reshape(len(x), -1)
    x = x @ params["dense/kernel"] + params["dense/bias"]
    x = relu(normalize(x, f"bn{len(FEATURES)}"))
    return x @ params["head/kernel"] + params["head/bias"], new_stats


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean over the batch, the labels smoothed."""
    targets = np.eye(NUM_CLASSES)[labels] * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / NUM_CLASSES
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -(targets * log_probabilities).sum(axis=1).mean()


def gradient(loss: Callable[[Arrays], np.ndarray], params: Arrays) -> Arrays:
    step = 1e-30
    result = {name: np.zeros_like(value) for name, value in params.items()}
    for name, value in params.items():
        for index in np.ndindex(value.shape):
            moved = value.astype(complex)
            moved[index] += 1j * step
            result[name][index] = loss({**params, name: moved}).imag / step
    return result


def start(rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    """Draws every variable, BatchNorm's too, so that none is at a value that hides a mistake."""
    shapes, channels = {}, IMAGE_SHAPE[2]
    for i, features in enumerate(FEATURES):
        shapes[f"conv{i}/kernel"] = (KERNEL_SIZE, KERNEL_SIZE, channels, features)
        shapes[f"conv{i}/bias"] = shapes[f"bn{i}/scale"] = shapes[f"bn{i}/bias"] = (features,)
        channels = features
    # 11x9 -> 9x7 -> pooled 4x3 -> 2x1
    shapes["dense/kernel"] = (2 * 1 * channels, DENSE_FEATURES)
    last = f"bn{len(FEATURES)}"
    shapes["dense/bias"] = shapes[f"{last}/scale"] = shapes[f"{last}/bias"] = (DENSE_FEATURES,)
    shapes["head/kernel"], shapes["head/bias"] = (DENSE_FEATURES, NUM_CLASSES), (NUM_CLASSES,)
    params = {
        name: rng.uniform(0.5, 1.5, shape) if name.endswith("scale") else rng.normal(0, 0.4, shape)
        for name, shape in shapes.items()
    }
    stats = {}
    for name, shape in shapes.items():
        if name.endswith("scale"):
            layer = name.split("/")[0]
            stats[f"{layer}/mean"], stats[f"{layer}/var"] = (
                rng.normal(0, 0.3, shape),
                rng.uniform(0.5, 2, shape),
            )
    return params, stats


def main() -> None:
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (NUM_STEPS, BATCH_SIZE, *IMAGE_SHAPE)).astype(np.uint8)
    labels = rng.integers(0, NUM_CLASSES, (NUM_STEPS, BATCH_SIZE)).astype(np.int32)
    params, stats = start(rng)
    arrays = {"images": images, "labels": labels}
    arrays |= {f"start/{name}": value for name, value in {**params, **stats}.items()}
    arrays["start/logits_eval"] = forward(params, stats, images[0] / 255, train=False)[0]
    arrays["start/logits_train"] = forward(params, stats, images[0] / 255, train=True)[0]

    ema = {**params, **stats}
    m = {name: np.zeros_like(value) for name, value in params.items()}
    v = {name: np.zeros_like(value) for name, value in params.items()}
    losses, correct = [], []
    for step in range(NUM_STEPS):
        x, y = images[step] / 255, labels[step]
        logits, new_stats = forward(params, stats, x, train=True)
        losses.append(cross_entropy(logits, y))
        correct.append((logits.argmax(axis=1) == y).sum())
        gradients = gradient(lambda p: cross_entropy(forward(p, stats, x, train=True)[0], y), params)  # noqa: B023
        if step == 0:
            arrays |= {f"gradient/{name}": value for name, value in gradients.items()}
        for name, g in gradients.items():
            m[name] = B1 * m[name] + (1 - B1) * g
            v[name] = B2 * v[name] + (1 - B2) * g**2
            t = step + 1
            rate = LEARNING_RATE * np.sqrt(1 - B2**t) / (1 - B1**t)
            decay = LEARNING_RATE * WEIGHT_DECAY * params[name] if params[name].ndim > 1 else 0
            params[name] = params[name] - rate * m[name] / (np.sqrt(v[name]) + EPSILON) - decay
        stats = new_stats
        keep = min(EMA_DECAY, (1 + step) / (10 + step))
        ema = {name: keep * ema[name] + (1 - keep) * value for name, value in {**params, **stats}.items()}
    arrays["losses"], arrays["num_correct"] = np.array(losses), np.array(correct)
    arrays |= {f"end/{name}": value for name, value in {**params, **stats}.items()}
    arrays |= {f"ema/{name}": value for name, value in ema.items()}
    arrays["end/logits_eval"] = forward(params, stats, images[0] / 255, train=False)[0]
    np.savez_compressed(Path(__file__).with_name("tiny_training.npz"), **arrays)


if __name__ == "__main__":
    main()
