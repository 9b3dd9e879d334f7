// The threads of another library's OpenMP. After torch's backward pass they still look out for work
// on the CPUs that a step could have: taken as they are, they are the fastest there is, and threads
// of our own would share the CPUs with them (docs/decisions.md).
#pragma once

#include "parallel.hpp"

namespace fusedstep {

// Takes note of the OpenMP that a shared library, loaded before, depends on. False where there is
// none, or none that can be used.
bool use_team_of(const char* library);

// Whether there is a team of so many threads, neither more nor less: OpenMP would end some of them,
// or start more, and again at the other library's next call. Not in a forked child, which has none
// of its parent's threads.
bool has_team(int threads);

// On all its threads. Ends when the last of them has come, late or not.
void run_on_team(int threads, const Work& work);

}  // namespace fusedstep
