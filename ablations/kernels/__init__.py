"""Kernels of our own for the training step, where PyTorch's are slow; each has PyTorch's operations to fall back on."""
