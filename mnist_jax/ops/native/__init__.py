"""Convolutions in C++ for a CPU, compiled on the machine they run on and called by XLA."""
