// Threads. The only file that knows OpenMP is parallel.cpp.
#pragma once

namespace fusedstep {

// How many threads a step may use: what set_thread_limit said, else FUSEDSTEP_NUM_THREADS, else
// OpenMP's own limit (OMP_NUM_THREADS, CPU affinity, threadpoolctl). 1 without OpenMP and in a
// forked child.
int thread_limit();

// n >= 1; 0 goes back to the default. Throws std::invalid_argument for a negative n.
void set_thread_limit(int n);

// What set_thread_limit or the environment asked for; 0 where nobody did.
int requested_threads();

// body(context, k) once for every k in [0, parts), in one parallel region, none where parts == 1;
// on its threads, in our floating-point environment. `body` must not throw.
void parallel_run(int parts, void (*body)(void* context, int part), void* context);

bool has_openmp();

// How many fork()s this process is away from the one that loaded the library.
int fork_count();

}  // namespace fusedstep
