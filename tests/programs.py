"""How XLA compiles the programs of tests, but for those of the end-to-end tests."""

# They run for moments, and are compiled in a third of the time.
QUICKLY_COMPILED = (
    "--xla_backend_optimization_level=0 "
    "--xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1"
)
