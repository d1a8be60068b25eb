"""The machine: devices, processes, signals, compilation."""
