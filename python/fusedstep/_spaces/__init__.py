"""Where arrays live: host memory or a CUDA device. Nothing else depends on which of them it is."""
