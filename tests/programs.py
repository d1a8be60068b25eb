"""How XLA compiles the programs of tests, but for those of the end-to-end tests."""

from importlib.metadata import version

# They run for moments, and are compiled in a third of the time.
QUICKLY_COMPILED = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
# XLA ends the process at an option that it does not know, and this one went with jaxlib 0.11.
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    QUICKLY_COMPILED += " --xla_cpu_use_fusion_emitters=false"
