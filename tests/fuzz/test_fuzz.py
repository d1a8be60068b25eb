"""Anything at all as input: it is read, or refused by one of our errors; never anything else."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_jax import cli, evaluate, predict, train
from mnist_jax.checkpoints.folder import CheckpointFolder
from mnist_jax.config.check import check
from mnist_jax.config.file import load_config_file
from mnist_jax.config.schema import FIELDS
from mnist_jax.data.folder import load_folder
from mnist_jax.data.pictures.decode import load_image
from mnist_jax.data.pictures.worker import shared_worker
from mnist_jax.errors import MnistJaxError
from mnist_jax.storage.json_files import read_config, read_summary
from mnist_jax.storage.metrics_log import read_metrics
from tests.data.conftest import SmallSet, encode_idx
from tests.fuzz.mutations import KINDS, try_inputs
from tests.fuzz.seeds import DEFAULT, LINE, MNIST, NPZ, PICTURES, RUN, SUMMARY, csv_bytes, make_step

pytestmark = pytest.mark.fuzz

# Each input within ten seconds.
fuzz = hypothesis.settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "2000")),
    deadline=timedelta(seconds=10),
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def read_or_refused(read: Callable[[], object]) -> None:
    """Whatever is raised but one of our errors fails the test."""
    try:
        read()
    except MnistJaxError as error:
        assert str(error).strip()


@st.composite
def damaged(draw, good: bytes) -> bytes:
    """A good file with some of its bytes changed, cut out, repeated or put in."""
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.integers(0, 16))
        kind = draw(st.sampled_from(("change", "cut", "repeat", "insert", "end")))
        if kind == "change":
            content[place : place + length] = draw(st.binary(min_size=length, max_size=length))
        elif kind == "cut":
            del content[place : place + length]
        elif kind == "repeat":
            content[place:place] = content[place : place + length] * draw(st.integers(1, 20))
        elif kind == "insert":
            content[place:place] = draw(st.binary(max_size=16))
        else:
            del content[place:]
    return bytes(content)


def in_a_folder(name: str, content: bytes, read: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        read_or_refused(lambda: read(Path(folder)))


def load_as_mnist(folder: Path) -> object:
    return load_folder("mnist", folder)


@fuzz
@given(st.data())
def test_idx(data):
    small = SmallSet(3, 2, 5)
    name = data.draw(st.sampled_from(sorted(small.arrays)))
    with tempfile.TemporaryDirectory() as folder:
        small.write(Path(folder), gz=False)
        (Path(folder) / name).write_bytes(data.draw(damaged(encode_idx(small.arrays[name]))))
        read_or_refused(lambda: load_as_mnist(Path(folder)))


@fuzz
@given(damaged(NPZ))
def test_npz(content):
    in_a_folder("data.npz", content, load_as_mnist)


@fuzz
@given(damaged(csv_bytes()))
def test_csv(content):
    in_a_folder("train.csv", content, load_as_mnist)


@fuzz
@given(st.sampled_from(PICTURES).flatmap(damaged))
def test_pictures(content):
    in_a_folder("a.png", content, lambda folder: load_image(folder / "a.png"))
    # As the demo answers a request with such a body.
    read_or_refused(lambda: shared_worker().prepare(content, MNIST))


@fuzz
@given(
    st.sampled_from(PICTURES).flatmap(damaged), st.sampled_from(("train/a/1.png", "test/b/1.png", "x/1.png"))
)
def test_image_folders(content, name):
    with tempfile.TemporaryDirectory() as folder:
        for place in ("train/a/0.png", "train/b/0.png", name):
            (Path(folder) / place).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / place).write_bytes(PICTURES[0])
        (Path(folder) / name).write_bytes(content)
        read_or_refused(lambda: load_as_mnist(Path(folder)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


@fuzz
@given(st.dictionaries(st.sampled_from([field.name for field in FIELDS]), JSON, min_size=1, max_size=4))
def test_configurations(values):
    lines = [
        "from mnist_jax.config import default_config",
        "def get_config():",
        "    config = default_config()",
    ]
    lines += [
        f"    config.{name} = eval({repr(value)!r}, dict(nan=0.0, inf=1e999))"
        for name, value in values.items()
    ]
    in_a_folder(
        "odd.py",
        "\n".join([*lines, "    return config"]).encode(errors="surrogatepass"),
        lambda folder: check(load_config_file(str(folder / "odd.py"))),
    )


WORDS = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(
            (
                "--config",
                "default",
                "--workdir",
                "--workdir=a",
                "--json",
                "--",
                "-",
                "--config.seed=1",
                "--help=",
            )
        ),
        st.builds(
            lambda field, value: f"--config.{field.name}={value}",
            st.sampled_from(FIELDS),
            st.text(max_size=8),
        ),
    ),
    max_size=6,
)


@fuzz
@given(st.sampled_from((train.COMMAND, evaluate.COMMAND, predict.COMMAND)), WORDS)
def test_command_lines(command, words):
    read_or_refused(lambda: cli.parse(command, words))


@st.composite
def changed(draw, good: object) -> object:
    """A JSON value with one of its places replaced or gone."""
    value = json.loads(json.dumps(good))
    place, last = value, None
    while isinstance(place, dict | list) and place and (last is None or draw(st.booleans())):
        above = place
        last = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        place = place[last]
    if draw(st.booleans()) and isinstance(above, dict):
        del above[last]
    else:
        above[last] = draw(JSON)
    return value


@fuzz
@given(changed({**DEFAULT, "run": RUN}), changed(SUMMARY), changed(LINE))
def test_files_of_a_run(config, summary, line):
    def read_settings(folder):
        config, _ = read_config(folder)
        return check(config)

    for name, content, read in (
        ("config.json", config, read_settings),
        ("summary.json", summary, read_summary),
        ("metrics.jsonl", line, read_metrics),
    ):
        in_a_folder(name, json.dumps(content).encode(), read)


def body_of_a_manifest() -> dict:
    with tempfile.TemporaryDirectory() as folder:
        make_step(Path(folder) / "7")
        return json.loads((Path(folder) / "7" / "manifest.json").read_text())["manifest"]


@fuzz
@given(changed(body_of_a_manifest()), st.booleans())
def test_manifests(body, is_sum_right):
    with tempfile.TemporaryDirectory() as folder:
        step = Path(folder) / "7"
        make_step(step)
        text = json.dumps(body, sort_keys=True)
        sha256 = hashlib.sha256(text.encode()).hexdigest() if is_sum_right else "0" * 64
        (step / "manifest.json").write_text(json.dumps({"sha256": sha256, "manifest": body}))
        steps = CheckpointFolder(folder, "accuracy", lambda message: None)
        read_or_refused(lambda: (list(steps.intact([7])), steps.best_first()))


@pytest.mark.parametrize("kind", KINDS)
def test_mutations(kind, tmp_path):
    assert try_inputs(kind, fuzz.max_examples, seed=0, keep=tmp_path) > 0
