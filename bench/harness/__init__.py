"""What the comparisons share beside fusedstep._bench: gate, processes, machine, results, report."""
