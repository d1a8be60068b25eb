"""A training that is tracked: the tracker has what metrics.jsonl has, and TensorBoard pictures besides."""

import importlib.machinery
import sys
import types

import pytest

from mnist_jax.run.loop import train_and_evaluate
from mnist_jax.storage.metrics_log import read_metrics
from tests.storage.test_metrics_log import event_files, read_events
from tests.test_study import tiny_config


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A training with TensorBoard and a stand-in for wandb: the folder, what was told, and the summary."""
    told = types.SimpleNamespace(config={}, lines=[], pictures=[], exit_code=None, summary={})

    def init(config, **others):
        told.config = config

        def log(values, step):
            kind = told.lines if len(values) > 1 else told.pictures
            kind.append((step, values))

        def finish(exit_code):
            told.exit_code = exit_code

        return types.SimpleNamespace(log=log, summary=told.summary, finish=finish)

    client = types.ModuleType("wandb")
    client.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    client.init, client.Settings, client.Image = init, dict, lambda picture: picture
    folder = tmp_path_factory.mktemp("tracked") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MNIST_JAX_DATA_DIR", raising=False)
        patch.setitem(sys.modules, "wandb", client)
        config = tiny_config(tracking="wandb,tensorboard", **{"augment.enabled": "True"})
        result = train_and_evaluate(config, str(folder))
    return folder, told, result.summary


def test_the_tracker_has_the_lines_of_the_run(tracked):
    folder, told, summary = tracked
    lines = read_metrics(folder)
    assert [step for step, _ in told.lines] == [line["step"] for line in lines]
    for (_, values), line in zip(told.lines, lines, strict=True):
        assert values[f"{line['split']}/loss"] == line["loss"]
    assert told.config["optim.learning_rate"] == 0.01
    assert told.summary["test_accuracy"] == summary["test_accuracy"] and told.exit_code == 0


def test_pictures_are_shown(tracked):
    _, told, summary = tracked
    shown = {name: (step, picture) for step, values in told.pictures for name, picture in values.items()}
    assert list(shown) == ["train/pictures", "train/augmented", "test/mistakes"]
    assert shown["test/mistakes"][0] == summary["final_step"]
    # 64 images in eight rows, and what is changed is not what was there.
    assert all(picture.shape == (8 * 29, 8 * 29, 3) for _, picture in shown.values())
    assert (shown["train/pictures"][1] != shown["train/augmented"][1]).any()


def test_tensorboard_has_pictures_and_hyperparameters_beside_every_scalar(tracked):
    folder, _, _ = tracked
    events = [event for path in event_files(folder) for event in read_events(path)]
    values = [value for event in events for value in event.summary.value]
    images = {value.tag for value in values if value.HasField("image")}
    assert images == {"train/pictures", "train/augmented", "test/mistakes"}
    tags = {value.tag for value in values}
    assert {"test/accuracy", "_hparams_/experiment", "_hparams_/session_start_info"} <= tags
    # What is written after the end of the run discards nothing of it.
    starts = [event.step for event in events if event.HasField("session_log")]
    assert starts and min(starts) > max(line["step"] for line in read_metrics(folder))
