#include "openmp.hpp"

#include <cctype>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "sync.hpp"

#ifdef FUSEDSTEP_HAS_PTHREADS
#include <limits.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <vector>
#endif

namespace fusedstep {
namespace {

constexpr double kSmallestStack = 64 << 10;  // of which thread-local variables are a part

// In bytes; 0 if it is not set. A number of KiB, or with B, K, M or G of another unit; OpenMP
// itself warns of anything else.
double stack_size() {
  const char* const text = std::getenv("OMP_STACKSIZE");
  if (text == nullptr) return 0.0;
  char* unit = nullptr;
  const double number = std::strtod(text, &unit);
  while (*unit == ' ') ++unit;
  const char* const units = "BKMG";
  const char* const found =
      *unit == '\0' ? nullptr : std::strchr(units, std::toupper(static_cast<unsigned char>(*unit)));
  return std::ldexp(number, found == nullptr ? 10 : 10 * static_cast<int>(found - units));
}

#ifdef FUSEDSTEP_HAS_PTHREADS

// Starts threads until one fails, all of which exist at the same time. Returns how many.
int start_together(int wanted) noexcept {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the program's own threads
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  const double stack = stack_size();
  if (stack >= static_cast<double>(PTHREAD_STACK_MIN))
    pthread_attr_setstacksize(&attributes, static_cast<std::size_t>(stack));
  int started = 0;
  try {
    std::vector<pthread_t> threads(static_cast<std::size_t>(wanted));
    std::mutex gate;
    const auto pass = [](void* own) -> void* {
      const std::lock_guard<std::mutex> lock(*static_cast<std::mutex*>(own));
      return nullptr;
    };
    gate.lock();
    for (pthread_t& thread : threads) {
      if (pthread_create(&thread, &attributes, pass, &gate) != 0) break;
      ++started;
    }
    gate.unlock();
    for (int k = 0; k < started; ++k) pthread_join(threads[static_cast<std::size_t>(k)], nullptr);
  } catch (const std::exception&) {  // out of memory
    started = 0;
  }
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

#else

int start_together(int wanted) noexcept { return wanted; }

#endif

}  // namespace

const std::string& small_openmp_stacks() {
  static const std::string text = [] {
    const double size = stack_size();
    return std::string(size > 0.0 && size < kSmallestStack ? std::getenv("OMP_STACKSIZE") : "");
  }();
  return text;
}

int openmp_threads(int threads) noexcept {
  // OpenMP keeps the threads of a caller's last region, and ends those that a smaller one spares.
  static thread_local int latest = 1;
  static thread_local Clock::time_point retry{};
  if (threads > latest && Clock::now() >= retry) {
    latest = 1 + start_together(threads - 1);
    if (latest < threads) retry = Clock::now() + std::chrono::seconds(1);
  }
  latest = std::min(latest, threads);
  return latest;
}

}  // namespace fusedstep
