"""How arrays are spread over the devices there are, and one clear line where one fails."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from mnist_jax.errors import RunError
from mnist_jax.runtime.devices import device_faults, make_layout


def test_eight_devices_share_a_batch_and_each_hold_the_rest():
    layout = make_layout()
    assert (layout.platform, layout.num_devices) == ("cpu", 8)
    assert layout.batch.mesh.axis_names == ("data",)
    images = np.arange(16 * 3).reshape(16, 3)
    spread = jax.device_put(images, layout.batch)
    assert [shard.data.shape for shard in spread.addressable_shards] == [(2, 3)] * 8
    assert len({shard.device for shard in spread.addressable_shards}) == 8
    everywhere = jax.device_put(images, layout.replicated)
    for shard in everywhere.addressable_shards:
        np.testing.assert_array_equal(shard.data, images)


def test_on_one_device_no_batch_is_cut(monkeypatch):
    devices = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    layout = make_layout()
    assert layout.batch is None and layout.num_devices == 1
    assert jax.device_put(np.zeros(3), layout.replicated).devices() == set(devices)


@pytest.mark.parametrize("platform", ["tpuu", "tpu", "cuda", "rocm"])
def test_a_platform_that_is_not_there_is_one_clear_line(platform):
    code = "from mnist_jax.runtime.devices import make_layout; make_layout()"
    environment = {**os.environ, "JAX_PLATFORMS": platform}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("mnist_jax.errors.RunError: no device to run on: ")
    assert platform in last and "expected JAX_PLATFORMS unset or a platform that this machine" in last


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.\nmore",
            r"the device ran out of memory \(.*8 bytes\.\); expected to fit: try a smaller batch_size",
        ),
        ("INTERNAL: the cable is out\nmore", "the device failed: INTERNAL: the cable is out$"),
    ],
)
def test_a_fault_of_the_device_is_one_clear_line(text, message):
    with pytest.raises(RunError, match=message) as caught, device_faults("a smaller batch_size"):
        raise jax.errors.JaxRuntimeError(text)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, jax.errors.JaxRuntimeError)


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), device_faults("nothing"):
        raise ZeroDivisionError
