#include "parallel.hpp"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "float_environment.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define FUSEDSTEP_HAS_FORK
#endif

namespace fusedstep {
namespace {

constexpr int kMaxThreads = 4096;

// libgomp's pool does not survive fork(): a parallel region in the child waits for ever for
// threads that exist in the parent only. A child therefore steps on its own thread.
std::atomic<int> forks{0};

#ifdef FUSEDSTEP_HAS_FORK
const int fork_handler = pthread_atfork(nullptr, nullptr, [] { ++forks; });
#endif

int threads_from_environment() {
  const char* text = std::getenv("FUSEDSTEP_NUM_THREADS");
  if (text == nullptr || *text == '\0') return 0;
  char* end = nullptr;
  errno = 0;
  const long n = std::strtol(text, &end, 10);
  if (*end != '\0' || errno != 0 || n < 1 || n > kMaxThreads)
    throw std::invalid_argument("FUSEDSTEP_NUM_THREADS: expected an integer from 1 to " +
                                std::to_string(kMaxThreads) + ", got '" + text + "'");
  return static_cast<int>(n);
}

std::atomic<int>& requested() {
  static std::atomic<int> n{threads_from_environment()};
  return n;
}

}  // namespace

int requested_threads() { return requested(); }

int fork_count() { return forks; }

void set_thread_limit(int n) {
  if (n < 0 || n > kMaxThreads)
    throw std::invalid_argument("num_threads: expected an integer from 1 to " +
                                std::to_string(kMaxThreads) + ", got " + std::to_string(n));
  requested() = n;
}

#ifdef _OPENMP

bool has_openmp() { return true; }

int thread_limit() {
  if (forks > 0) return 1;
  const int n = requested();
  return n > 0 ? n : omp_get_max_threads();
}

void parallel_run(int parts, void (*body)(void* context, int part), void* context) {
  if (parts <= 1 || forks > 0) {
    for (int k = 0; k < parts; ++k) body(context, k);
    return;
  }
#pragma omp parallel num_threads(parts)
  {
    const FloatEnvironment ours;
    // OpenMP may give fewer threads than were asked for; every part is run all the same.
    for (int k = omp_get_thread_num(); k < parts; k += omp_get_num_threads()) body(context, k);
  }
}

#else

bool has_openmp() { return false; }

int thread_limit() { return 1; }

void parallel_run(int parts, void (*body)(void* context, int part), void* context) {
  for (int k = 0; k < parts; ++k) body(context, k);
}

#endif

}  // namespace fusedstep
