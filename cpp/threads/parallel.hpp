// Threads: how many a step may use, and where they come from: the pool (pool.hpp), OpenMP, or
// another library's (team.hpp).
#pragma once

#include <cstddef>

namespace fusedstep {

// How many threads a step may use: what set_thread_limit said, else FUSEDSTEP_NUM_THREADS, else the
// CPUs that this process may use (affinity, cgroup quotas), or fewer where OMP_NUM_THREADS or
// threadpoolctl say so. A forked child has 1 where OpenMP is the source of threads.
int thread_limit();

// n >= 1; 0 goes back to the default. Throws std::invalid_argument for a negative n.
void set_thread_limit(int n);

// What set_thread_limit or the environment asked for; 0 where nobody did.
int requested_threads();

// Something to be done in parts: body(context, first, last) for ranges of [0, units), on any
// thread, each unit once. `body` must not throw.
struct Work {
  std::size_t units;
  std::size_t bytes;  // that all of it touches: what a part is worth
  void (*body)(void* context, std::size_t first, std::size_t last);
  void* context;
  bool more;  // another one follows within microseconds
};

// The `k`-th of `n` equal shares of it.
void run_share(const Work& work, int k, int n);

// Which threads: how many, the caller's among them, and whether those of another library's OpenMP
// (team.hpp).
struct Threads {
  int count = 1;
  bool team = false;
};

// On at most these. Other threads than the caller's are in our floating-point environment; the
// caller sees to its own.
void parallel_run(Threads threads, const Work& work) noexcept;

// Where threads come from: "pool" or "openmp". Of a build without OpenMP always the pool.
const char* threading();
bool has_openmp();

}  // namespace fusedstep
