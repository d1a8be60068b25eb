"""The files below docs/examples are at least what they claim to be."""

import subprocess
from pathlib import Path

import pytest
import yaml

from mnist_jax.train import COMMAND

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.sh")), ids=lambda path: path.name)
def test_shell_scripts_are_bash(path):
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_kubernetes_example_is_a_service_and_an_indexed_job():
    service, job = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text())
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"]
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert variables["JAX_NUM_PROCESSES"] == str(spec["parallelism"])
    name, service_name = job["metadata"]["name"], service["metadata"]["name"]
    port = service["spec"]["ports"][0]["port"]
    assert variables["JAX_COORDINATOR_ADDRESS"] == f"{name}-0.{service_name}:{port}"
    assert pod["subdomain"] == service_name
    assert f"{container['command'][0]} -m {container['command'][2]}" == COMMAND.name
