"""The benchmark harness: who is measured, the accuracy gate, rounds, timing and ratios.

``fusedstep bench`` and the comparisons in ``bench/`` of the repository share it.
"""
