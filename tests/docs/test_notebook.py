"""The notebook runs from top to bottom: its cells are executed in one namespace, without a kernel."""

import json

import matplotlib.pyplot as plt

from tests.docs.pages import ROOT

NOTEBOOK = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())


def test_the_notebook_runs_and_is_kept_without_outputs(monkeypatch, tmp_path):
    monkeypatch.delenv("MNIST_JAX_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    names: dict = {}
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert names["run"].summary["test_accuracy"] > 0.5
    assert names["probabilities"].shape == (100, 10)
    assert [axis.get_title() for axis in names["axes"]] == [str(digit) for digit in names["predicted"][:3]]
    plt.close(names["figure"])
