"""Writes affine.npz beside it with Keras' own warps (needs the `bench` extra and SciPy).

Run as KERAS_BACKEND=jax python tests/golden/make_affine_golden.py.
Last made with Keras 3.15.1, SciPy 1.17.1, NumPy 2.4.6.
"""

from pathlib import Path

import numpy as np
from keras.src.legacy.preprocessing.image import apply_affine_transform

SQUARE_TURNS = np.array([0.0, 45.0, 90.0, 180.0, -90.0, 270.0])


def draw(rng: np.random.Generator, kind: str, n: int) -> dict[str, np.ndarray]:
    def uniform(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, n)

    if kind == "mild":
        ranges = {"theta": 8, "tx": 2.3, "ty": 2.3, "shear": 17}
        params = {name: uniform(-r, r) for name, r in ranges.items()}
        return params | {"zx": uniform(0.9, 1.1), "zy": uniform(0.9, 1.1)}
    if kind == "extreme":
        ranges = {"theta": 180, "tx": 20, "ty": 20, "shear": 80}
        params = {name: uniform(-r, r) for name, r in ranges.items()}
        return params | {"zx": uniform(0.1, 5), "zy": uniform(0.1, 5)}
    # Positions on the very edge of a pixel or of the image, and parameters that Keras skips.
    return {
        "theta": rng.choice(SQUARE_TURNS, n),
        "tx": rng.choice([0, 0.5, 1, -1.5], n),
        "ty": rng.choice([0, 0.5, 1, -1.5], n),
        "shear": rng.choice([0, 0, 45.0], n),
        "zx": rng.choice([1, 0.5, 2, -1], n),
        "zy": rng.choice([1, 0.5, 2], n),
    }


def main() -> None:
    rng = np.random.default_rng(20)
    arrays: dict[str, np.ndarray] = {}
    for shape in ((12, 12, 1), (9, 14, 3), (15, 8, 2)):
        for kind in ("mild", "extreme", "ties"):
            n = 16
            case = draw(rng, kind, n) | {
                "images": rng.integers(0, 256, (n, *shape)).astype(np.uint8),
                "fill_mode": rng.permutation(np.repeat(["nearest", "constant"], n // 2)),
                "order": rng.permutation(np.tile([0, 1], n // 2)),
            }
            case["cval"] = rng.uniform(0.2, 0.8, n)
            case["expected"] = np.stack(
                [
                    apply_affine_transform(
                        (case["images"][i] / 255).astype(np.float32),
                        *(case[name][i] for name in ("theta", "tx", "ty", "shear", "zx", "zy")),
                        row_axis=0,
                        col_axis=1,
                        channel_axis=2,
                        fill_mode=str(case["fill_mode"][i]),
                        cval=case["cval"][i],
                        order=int(case["order"][i]),
                    )
                    for i in range(n)
                ]
            )
            prefix = "x".join(map(str, shape))
            arrays |= {f"{prefix}/{kind}/{name}": value for name, value in case.items()}
    np.savez_compressed(Path(__file__).with_name("affine.npz"), **arrays)


if __name__ == "__main__":
    main()
