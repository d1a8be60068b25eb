"""Convolution, BatchNorm and pooling as lowered for CPU."""
