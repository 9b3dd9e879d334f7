#include "process.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define FUSEDSTEP_HAS_FORK
#endif

namespace fusedstep {
namespace {

std::atomic<int> forks{0};

#ifdef FUSEDSTEP_HAS_FORK
const int fork_handler = pthread_atfork(nullptr, nullptr, [] { ++forks; });
#endif

}  // namespace

int fork_count() { return forks.load(std::memory_order_relaxed); }

}  // namespace fusedstep
