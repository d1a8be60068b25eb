"""A run shown in a notebook, with a stand-in for IPython."""

import sys
import types

import pytest

from mnist_jax.terminal.console import RunConsole
from mnist_jax.terminal.notebook import NotebookConsole, make_console
from mnist_jax.terminal.progress import Progress


@pytest.fixture
def shown(monkeypatch):
    """What the output of the bar held, one text for each time it was drawn."""
    texts: list[str] = []

    class Handle:
        def update(self, html):
            texts.append(html)

    def display(html, display_id):
        assert display_id is True
        texts.append(html)
        return Handle()

    shell = types.SimpleNamespace(kernel=object())
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(HTML=str, display=display))
    return texts


def test_the_bar_is_one_output_that_is_drawn_again_and_goes(shown, capsys):
    console = make_console()
    assert isinstance(console, NotebookConsole)
    seconds = iter(range(100))
    with Progress(
        console, num_epochs=2, steps_per_epoch=10, batch_size=8, clock=lambda: next(seconds)
    ) as progress:
        progress.phase("compiling")
        progress.update(5, loss=1.5, accuracy=0.25, images_per_second=100.0)
        progress.epoch_done(
            1,
            train_loss=1.0,
            train_accuracy=0.5,
            eval_split="test",
            eval_loss=0.5,
            eval_accuracy=0.75,
            seconds=3.0,
            images_per_second=100.0,
        )
    assert "compiling" in shown[1]
    assert all(text in shown[2] for text in ("epoch 1/2", "5/20", "loss 1.5000", "100 img/s", "<pre"))
    assert shown[-1] == ""
    assert "75.00%" in capsys.readouterr().out and len(shown) == 4


def test_a_terminal_a_script_and_silence_are_as_in_a_command(shown, monkeypatch):
    assert not make_console(progress=False).enabled
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert type(make_console()) is RunConsole
    monkeypatch.delitem(sys.modules, "IPython")
    assert type(make_console()) is RunConsole and make_console().enabled
