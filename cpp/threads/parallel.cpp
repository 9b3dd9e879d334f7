#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

#include "cpus.hpp"
#include "numeric/float_environment.hpp"
#include "openmp.hpp"
#include "pool.hpp"
#include "process.hpp"
#include "team.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace fusedstep {
namespace {

constexpr int kMaxThreads = 4096;

// Small enough that waiting for the last part is short, large enough that taking one costs nothing.
constexpr std::size_t kPartBytes = std::size_t{64} << 10;
constexpr std::size_t kMostPartsPerThread = 64;

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

bool openmp_from_environment() {
  const char* text = std::getenv("FUSEDSTEP_THREADING");
  if (text == nullptr || *text == '\0' || std::strcmp(text, "pool") == 0) return false;
  if (std::strcmp(text, "openmp") != 0)
    throw std::invalid_argument(
        std::string("FUSEDSTEP_THREADING: expected 'pool' or 'openmp', got '") + text + "'");
  if (!has_openmp())
    throw std::invalid_argument(
        "FUSEDSTEP_THREADING: expected 'pool', since this build has no OpenMP, got 'openmp'");
  if (const std::string& size = small_openmp_stacks(); !size.empty())
    throw std::invalid_argument(
        "OMP_STACKSIZE: expected at least 64k with FUSEDSTEP_THREADING=openmp, got '" + size + "'");
  return true;
}

bool uses_openmp() {
  static const bool uses = openmp_from_environment();
  return uses;
}

// usable_cpus() reads files: refreshed once per second.
int recent_cpus() {
  using Clock = std::chrono::steady_clock;
  static std::atomic<int> cpus{0};
  static std::atomic<Clock::duration> due{Clock::duration::zero()};
  const Clock::duration now = Clock::now().time_since_epoch();
  if (cpus == 0 || now >= due.load()) {
    cpus = usable_cpus();
    due = now + std::chrono::seconds(1);
  }
  return cpus;
}

#ifdef _OPENMP

int openmp_limit() { return omp_get_max_threads(); }

// A region ends when its last thread has arrived, late or not.
void run_openmp(int threads, const Work& work) {
  threads = openmp_threads(threads);
#pragma omp parallel num_threads(threads)
  {
    const FloatEnvironment ours;
    // OpenMP may give fewer threads than requested.
    run_share(work, omp_get_thread_num(), omp_get_num_threads());
  }
}

#else

// Mimics OpenMP: the first number of a list with one entry per nesting level.
int openmp_limit() {
  static const int limit = [] {
    const char* text = std::getenv("OMP_NUM_THREADS");
    const long n = text == nullptr ? 0 : std::strtol(text, nullptr, 10);
    return n < 1 || n > kMaxThreads ? kMaxThreads : static_cast<int>(n);
  }();
  return limit;
}

void run_openmp(int, const Work&) {}

#endif

void run_pool(int threads, const Work& work) {
  // Equally many per thread: without delays, all finish together.
  const auto n = std::size_t(threads);
  const std::size_t most = std::min(kMostPartsPerThread, Share::kMaxParts / n);
  const std::size_t parts = n * std::clamp<std::size_t>(work.bytes / n / kPartBytes, 1, most);
  const std::size_t part = std::max<std::size_t>(1, (work.units + parts - 1) / parts);
  of_process<Pool>().run(work, part, threads, std::max(threads, thread_limit()));
}

}  // namespace

int requested_threads() { return requested(); }

void set_thread_limit(int n) {
  if (n < 0 || n > kMaxThreads)
    throw std::invalid_argument("num_threads: expected an integer from 1 to " +
                                std::to_string(kMaxThreads) + ", got " + std::to_string(n));
  requested() = n;
}

bool has_openmp() {
#ifdef _OPENMP
  return true;
#else
  return false;
#endif
}

const char* threading() { return uses_openmp() ? "openmp" : "pool"; }

int thread_limit() {
  // libgomp's threads do not survive fork(): a region in the child would hang.
  if (uses_openmp() && fork_count() > 0) return 1;
  const int n = requested();
  return n > 0 ? n : std::min(openmp_limit(), recent_cpus());
}

void run_share(const Work& work, int k, int n) {
  const auto cut = [&](int i) {
    const auto at = std::size_t(i), all = std::size_t(n);
    return work.units / all * at + work.units % all * at / all;
  };
  if (cut(k) != cut(k + 1)) work.body(work.context, cut(k), cut(k + 1));
}

void parallel_run(Threads threads, const Work& work) noexcept {
  if (work.units == 0) return;
  if (threads.count <= 1) return work.body(work.context, 0, work.units);
  if (threads.team && has_team(threads.count)) return run_on_team(threads.count, work);
  if (uses_openmp()) return run_openmp(threads.count, work);
  try {
    run_pool(threads.count, work);
  } catch (const std::bad_alloc&) {  // starting the pool, before any work
    work.body(work.context, 0, work.units);
  }
}

}  // namespace fusedstep
