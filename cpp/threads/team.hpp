// Another library's OpenMP threads. After torch's backward pass they still spin on the CPUs that a
// step needs: using them is fastest, while threads of our own would compete with them
// (docs/decisions.md).
#pragma once

#include "parallel.hpp"

namespace fusedstep {

// Finds the OpenMP runtime that an already loaded shared library depends on. False if there is
// none, or none usable.
bool use_team_of(const char* library);

// Whether the team has exactly this many threads: for another number, OpenMP would end or start
// some, and again at the other library's next call. False in a forked child, which has none of its
// parent's threads.
bool has_team(int threads);

// Runs the work on all its threads. Returns when the last has arrived, late or not.
void run_on_team(int threads, const Work& work);

}  // namespace fusedstep
