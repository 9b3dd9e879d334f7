// How many threads a step may use, and where they come from: the pool (pool.hpp), OpenMP, or
// another library (team.hpp).
#pragma once

#include <cstddef>

namespace fusedstep {

// Most threads a step may use: set_thread_limit(), else FUSEDSTEP_NUM_THREADS, else the CPUs
// available to this process (affinity, cgroup quotas), or fewer if OMP_NUM_THREADS or threadpoolctl
// says so. 1 in a forked child if threads come from OpenMP.
int thread_limit();

// n >= 1; 0 restores the default. Throws std::invalid_argument for a negative n.
void set_thread_limit(int n);

// The limit set by set_thread_limit() or the environment; 0 if none.
int requested_threads();

// Divisible work: body(context, first, last) for ranges of [0, units), on any thread, each unit
// exactly once. `body` must not throw.
struct Work {
  std::size_t units;
  std::size_t bytes;  // touched in total: determines the size of parts
  void (*body)(void* context, std::size_t first, std::size_t last);
  void* context;
  bool more;  // more work follows within microseconds
};

// Runs the `k`-th of `n` equal shares.
void run_share(const Work& work, int k, int n);

// Number of threads, including the caller's, and whether they are another library's OpenMP threads
// (team.hpp). Aligned to its size, without which Clang takes its atomics from a library.
struct alignas(8) Threads {
  int count = 1;
  bool team = false;
};

// Runs the work on at most these threads. Others than the caller's use the default floating-point
// environment; the caller sets its own.
void parallel_run(Threads threads, const Work& work) noexcept;

// Where threads come from: "pool" or "openmp"; always the pool in a build without OpenMP.
const char* threading();
bool has_openmp();

}  // namespace fusedstep
