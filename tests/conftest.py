"""What every test shares: several CPU devices, real MNIST where it is at hand."""

import os

# Before the first import of jax: JAX reads it once, and the sharding tests need several devices.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
