"""The comparison on the CPU: in a training loop, and steps in a row."""
