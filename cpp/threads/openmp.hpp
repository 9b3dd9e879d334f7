// What OpenMP does not look at before it starts threads, and ends the process for.
#pragma once

#include <string>

namespace fusedstep {

// OMP_STACKSIZE if that is too small for any code, else empty.
const std::string& small_openmp_stacks();

// How many of `threads`, the caller's included, OpenMP can have in the next region: where it cannot
// start one, it ends the process, so as many are started here, once.
int openmp_threads(int threads) noexcept;

}  // namespace fusedstep
