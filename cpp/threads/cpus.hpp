// How many CPUs this process may use.
#pragma once

#include <string>

namespace fusedstep {

// At least 1: the calling thread's affinity or, if less, the CPU quota rounded down (half a CPU is
// 1). Either may change at any time, so nothing is cached: a call reads a few small files, 50 us.
// Unreadable means no limit. `root` is prepended to the paths, for tests.
int usable_cpus(const std::string& root = "") noexcept;

// CPU quota of the process's cgroups, v1, v2 or both: the minimum over its own and all ancestors;
// infinity if none has a quota.
double cpu_quota(const std::string& root = "") noexcept;

}  // namespace fusedstep
