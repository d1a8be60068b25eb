# A run in a container, on CPU; JAX_EXTRA=cuda13 for NVIDIA GPUs:
#   docker build -t mnist_jax .
#   docker run --rm -v "$PWD/runs:/runs" mnist_jax train --config default --workdir /runs/default
#   docker run --rm -v "$PWD/runs:/runs" -p 8000:8000 mnist_jax demo --workdir /runs/default --host 0.0.0.0
# tests/test_dockerfile.py checks its form and that what it copies is there. That it builds and that the image
# runs is not checked by any test: CI has no container runtime.
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY configs configs
COPY mnist_jax mnist_jax
ARG JAX_EXTRA=""
RUN python -m venv /opt/mnist_jax \
    && /opt/mnist_jax/bin/pip install --no-cache-dir ".${JAX_EXTRA:+[$JAX_EXTRA]}"

FROM python:3.12-slim
# The compiler of a CPU's convolutions, which are faster by it.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 runner \
    && mkdir -p /runs /home/runner/.cache \
    && chown -R runner /runs /home/runner/.cache
COPY --from=build /opt/mnist_jax /opt/mnist_jax
USER runner
WORKDIR /runs
EXPOSE 8000
# SIGTERM of `docker stop` reaches the training, which saves a checkpoint.
ENTRYPOINT ["/opt/mnist_jax/bin/mnist-jax"]
CMD ["--help"]
