"""Benchmarks of the project and of what it is compared with; see benchmarks/README.md."""
