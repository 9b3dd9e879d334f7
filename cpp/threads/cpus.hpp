// How many CPUs this process may use.
#pragma once

#include <string>

namespace fusedstep {

// At least 1: the CPUs that the calling thread may run on or, where that is less, the whole CPUs
// of its quota (half a CPU is 1). Either may change at any time, so nothing is remembered: a call
// reads some small files, 50 us. What cannot be read is no limit. `root` is where they are looked
// up, "" but in tests.
int usable_cpus(const std::string& root = "") noexcept;

// How many CPUs' time the process's cgroups grant it, of v1, v2 or both: the least of its own and
// of all that these lie in; infinity where none has a quota.
double cpu_quota(const std::string& root = "") noexcept;

}  // namespace fusedstep
