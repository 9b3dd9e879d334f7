"""The comparison on a CUDA device."""
