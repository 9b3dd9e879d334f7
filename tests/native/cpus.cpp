// Prints what this process may use: `cpus` the CPUs and the quota; `cpus FOLDER` the quota
// according to the files there; `cpus --kernel N FOLDER` the CPUs under a fake kernel that has N
// and allows all (0: the call fails); `cpus --memory FOLDER` the quotas if the first allocation
// fails, if the second does, and so on until none does.
#include "threads/cpus.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#ifdef __linux__
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

long kernel_cpus = -1;  // -1: the real kernel
long allocations = -1;  // successful ones before one fails; -1: all

}  // namespace

void* operator new(std::size_t bytes) {
  if (allocations >= 0 && allocations-- == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

#ifdef __linux__
// Replaces the C library's.
extern "C" int sched_getaffinity(pid_t pid, std::size_t bytes, cpu_set_t* set) noexcept {
  if (kernel_cpus >= 0) {
    const auto needed = static_cast<std::size_t>(kernel_cpus + 7) / 8;
    errno = kernel_cpus == 0 ? EPERM : EINVAL;
    if (kernel_cpus == 0 || bytes < needed) return -1;
    for (long cpu = 0; cpu < kernel_cpus; ++cpu)
      CPU_SET_S(static_cast<std::size_t>(cpu), bytes, set);
    return 0;
  }
  return syscall(SYS_sched_getaffinity, pid, bytes, set) < 0 ? -1 : 0;
}
#endif

int main(int argc, char** argv) {
  if (argc == 1) {
    std::printf("%d %.17g\n", fusedstep::usable_cpus(), fusedstep::cpu_quota());
  } else if (std::strcmp(argv[1], "--kernel") == 0) {
    kernel_cpus = std::atol(argv[2]);
    std::printf("%d\n", fusedstep::usable_cpus(argv[3]));
  } else if (std::strcmp(argv[1], "--memory") == 0) {
    const std::string root = argv[2];
    for (long fails = 0, left = -1; left < 0; ++fails) {
      allocations = fails;
      const double quota = fusedstep::cpu_quota(root);
      left = allocations;
      allocations = -1;
      std::printf("%.17g\n", quota);
    }
  } else {
    std::printf("%.17g\n", fusedstep::cpu_quota(argv[1]));
  }
}
