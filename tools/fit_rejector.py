"""Fits what tells digits from other ink, and writes ``mnist_jax/data/digits/rejector.npz``.

    python -m tools.fit_rejector

A perceptron with one hidden layer reads the strokes' directions (`rejector.directions`) and tells eleven
classes apart: the ten digits, and what is none. Digits are MNIST's training images without the last 10,000,
some of them in made-up photographs or of another pen, and printed ones. What is none is drawn by
`tools/drawings.py`, on a pad or on paper. The last 10,000 training images and a fifth of what is drawn show
what it reaches; MNIST's test set is not read. About half an hour on two cores.
"""

from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.photographs import KINDS, RULINGS, lay, make_sheet
from mnist_jax import cli
from mnist_jax.data import load_splits
from mnist_jax.data.pictures import rejector
from mnist_jax.data.pictures.mnist_form import to_mnist
from mnist_jax.errors import DataError
from tools import drawings

NUM_FITTED = 50_000
HIDDEN, STEPS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY, DROPPED = 48, 12_000, 256, 3e-3, 0.02, 0.1

# How many of each.
NON_DIGITS = {
    "letter": 5000,
    "symbol": 2500,
    "word": 600,
    "scribble": 4000,
    "shape": 4000,
    "texture": 800,
    "several digits": 1200,
    "ruled": 600,
    "grid": 600,
}
DIGITS = {"printed digit": 1600, "photograph": 2000, "other pen": 2500}

_DRAWN: dict[str, drawings.Draw] = {
    "letter": drawings.letter,
    "symbol": drawings.symbol,
    "word": drawings.word,
    "scribble": drawings.scribble,
    "shape": drawings.shape,
    "texture": drawings.texture,
}


COMMAND = cli.Command(
    "python -m tools.fit_rejector",
    "Draws what is no digit, fits what tells it from digits, and writes the weights into the package.",
    (cli.Flag("scale", 1.0, "share of the drawings to make", at_least=0.001, metavar="SHARE"),),
)


class Example(NamedTuple):
    """A drawing in MNIST's form, uint8 ``[28, 28]``, and its class: 10 for what is no digit."""

    kind: str
    image: np.ndarray
    label: int


def main(arguments: cli.Arguments) -> int:
    """Draws, fits, tells what was reached, and writes."""
    scale = arguments["scale"]
    jobs = [(k, i) for k, n in {**NON_DIGITS, **DIGITS}.items() for i in range(round(scale * n))]
    with ProcessPoolExecutor(initializer=_load_digits) as pool:
        drawn = [e for e in pool.map(make_example, *zip(*jobs, strict=True), chunksize=50) if e is not None]
    train = load_splits("mnist").train
    images, labels = train.images[..., 0], train.labels
    is_held_out = np.random.default_rng(0).random(len(drawn)) < 0.2
    fitted = [e for e, out in zip(drawn, is_held_out, strict=True) if not out]
    inputs = np.concatenate([images[:NUM_FITTED], *[e.image[None] for e in fitted]])
    classes = np.concatenate([labels[:NUM_FITTED], [e.label for e in fitted]])
    weights = fit(directions(inputs), classes)
    rejector.write(weights)
    held_out = [e for e, out in zip(drawn, is_held_out, strict=True) if out]
    tell(images[NUM_FITTED:], held_out)
    return 0


def _load_digits() -> None:
    global _images, _labels
    train = load_splits("mnist").train
    _images, _labels = train.images[:NUM_FITTED, ..., 0], train.labels[:NUM_FITTED]


def make_example(kind: str, index: int) -> Example | None:
    """Makes one drawing, the same for the same arguments; None where nothing of it is seen."""
    rng = np.random.default_rng([*kind.encode(), index])
    label = index % 10 if kind == "printed digit" else 10
    number = int(rng.integers(0, NUM_FITTED))
    if kind in RULINGS:
        gray = make_sheet(rng) * RULINGS[kind](rng)
        if rng.random() < 0.4:
            gray = KINDS[rng.choice(["soft shadow", "hard shadow", "vignette"])](gray, rng)
    elif kind == "photograph":
        label, way = int(_labels[number]), rng.choice(list(KINDS))
        sheet = make_sheet(rng) * (RULINGS[way](rng) if way in RULINGS else 1)
        ink = drawings.enlarge(_images[number] / 255, rng.uniform(5, 8.5))
        gray = np.clip(KINDS[way](lay(sheet, ink, rng), rng), 0, 1)
    else:
        if kind == "other pen":
            label, ink = int(_labels[number]), drawings.penned(rng, _images[number])
        elif kind == "printed digit":
            ink = drawings.printed_digit(rng, label)
        elif kind == "several digits":
            ink = drawings.side_by_side(rng, _images[rng.integers(0, NUM_FITTED, rng.integers(2, 5))])
        else:
            ink = _DRAWN[kind](rng)
        gray = _place(ink, rng, on_paper=label == 10 and rng.random() < 0.25)
    try:
        return Example(kind, to_mnist(gray)[..., 0], label)
    except DataError:
        return None


def _place(ink: np.ndarray, rng: np.random.Generator, on_paper: bool) -> np.ndarray:
    if on_paper:
        return lay(
            make_sheet(rng) * (RULINGS[rng.choice(["ruled", "grid"])](rng) ** rng.integers(0, 2)), ink, rng
        )
    pad = np.pad(ink, 20)
    return pad if rng.random() < 0.3 else 1 - pad


def directions(images: np.ndarray) -> np.ndarray:
    """`rejector.directions` in pieces that fit into memory."""
    return np.concatenate(
        [rejector.directions(part) for part in np.array_split(images, len(images) // 1000 + 1)]
    )


def fit(features: np.ndarray, classes: np.ndarray) -> rejector.Weights:
    """Trains the perceptron with AdamW and a cosine; a tenth of the features is dropped."""
    mean = features.mean(axis=0)
    inputs, targets = jnp.asarray(features - mean), jnp.asarray(classes)
    num_features, key = features.shape[1], jax.random.key(0)
    draw = jax.random.normal
    params = (
        2 * num_features**-0.5 * draw(jax.random.fold_in(key, 0), (num_features, HIDDEN)),
        jnp.zeros(HIDDEN),
        HIDDEN**-0.5 * draw(jax.random.fold_in(key, 1), (HIDDEN, 11)),
        jnp.zeros(11),
    )
    optimizer = optax.adamw(optax.cosine_decay_schedule(LEARNING_RATE, STEPS), weight_decay=WEIGHT_DECAY)

    def loss(params, batch, labels):
        hidden = jax.nn.relu(batch @ params[0] + params[1])
        logits = hidden @ params[2] + params[3]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(carry, number):
        params, state = carry
        chosen, dropped = jax.random.split(jax.random.fold_in(key, number + 2))
        index = jax.random.randint(chosen, (BATCH_SIZE,), 0, len(inputs))
        keep = jax.random.bernoulli(dropped, 1 - DROPPED, (BATCH_SIZE, num_features))
        gradients = jax.grad(loss)(params, inputs[index] * keep / (1 - DROPPED), targets[index])
        updates, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(STEPS)))(
        (params, optimizer.init(params))
    )
    first, bias, second, last_bias = map(np.asarray, params)
    return rejector.Weights(first, bias - mean @ first, second, last_bias)


def tell(digits: np.ndarray, others: list[Example]) -> None:
    """Prints, for some shares of the digits refused, the share of each kind that is refused."""
    of_digits = np.concatenate([rejector.non_digit_probability(part) for part in np.array_split(digits, 10)])
    of_others = rejector.non_digit_probability(np.stack([e.image for e in others]))
    kinds = np.array([e.kind for e in others])
    for share in (0.01, 0.007, 0.005, 0.003):
        bound = np.quantile(of_digits, 1 - share)
        parts = [f"{kind} {(of_others[kinds == kind] > bound).mean():.3f}" for kind in dict.fromkeys(kinds)]
        print(f"{share:.1%} of digits refused above {bound:.4f}: {', '.join(parts)}")


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
