"""What is predicted for many devices rests on collectives that the compiled program really has."""

import pytest

from benchmarks.scaling import (
    BATCH_NORM_BYTES,
    ETHERNET,
    GRADIENT_BYTES,
    H100,
    collectives,
    compiled_step,
    efficiency,
)


def test_collectives_are_read_from_a_program():
    hlo = """
      %a = (f32[32]{0}, s32[2,3]{1,0}) all-reduce(%b, %c), channel_id=1
      ROOT %d = bf16[8]{0} all-gather-start(%e), dimensions={0}
      %f = f32[] all-reduce-done(%a)
    """
    assert collectives(hlo) == [("all-reduce", 32 * 4 + 6 * 4), ("all-gather", 16)]


@pytest.mark.slow
def test_one_device_needs_nobody():
    assert collectives(compiled_step(1)) == []


@pytest.mark.parametrize(("conv", "most"), [("gemm", 10), ("fused", 14), ("lax", 14)])
@pytest.mark.parametrize("devices", [pytest.param(2, marks=pytest.mark.slow), 8])
def test_a_step_reduces_gradients_and_batch_norm_and_moves_nothing_else(devices, conv, most):
    """Images, activations and random numbers stay where they are, whatever the number of devices."""
    found = collectives(compiled_step(devices, conv))
    assert {kind for kind, _ in found} == {"all-reduce"}
    assert len(found) <= most
    total = sum(size for _, size in found)
    assert GRADIENT_BYTES * 0.98 < total < GRADIENT_BYTES + 3 * BATCH_NORM_BYTES


@pytest.mark.parametrize("machine", [H100, ETHERNET])
def test_efficiency_falls_with_devices_and_rises_with_work(machine):
    for fixed in (True, False):
        falling = [efficiency(machine, n, 4096, fixed_global=fixed) for n in (1, 8, 64, 512)]
        assert falling[0] == pytest.approx(1) and falling == sorted(falling, reverse=True)
    assert efficiency(machine, 64, 64, fixed_global=False) < efficiency(machine, 64, 4096, fixed_global=False)
