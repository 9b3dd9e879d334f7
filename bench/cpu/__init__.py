"""The comparison on the CPU: in training loops, and of back-to-back steps."""
