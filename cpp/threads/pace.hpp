// Chooses the threads of a step: those that were recently fastest.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

#include "parallel.hpp"

namespace fusedstep {

// More threads are not always faster: other programs or BLAS's spinning threads may occupy the
// cores, and one thread may saturate the memory. This cannot be queried, so steps are timed, and
// occasionally a few run on half or twice as many threads. A level that lost time is retried after
// several times that time has passed: soon at first, since it may have been a single stall, then
// with exponential backoff, so that trials cost less than 1 % in the long run.
//
// An occasional stall is worth it if the steps in between have saved more: savings are accumulated,
// and only when they are used up are fewer threads tried immediately.
class Pace {
 public:
  // Up to `limit` threads; `team` adds another library's threads, if it has exactly that many.
  Pace(int limit, bool team);

  // For the next step.
  Threads threads() const { return threads_.load(std::memory_order_relaxed); }
  // Records a step's bytes, time and threads. Concurrent steps of other threads are ignored.
  void record(Threads threads, std::size_t bytes, double seconds) noexcept;

 private:
  static constexpr double kMinBackoff = 8.0, kMaxBackoff = 128.0;
  struct Level {
    Threads threads;
    int steps = 0;
    double pace = 0.0;             // seconds per byte, recent mean
    double wait = 0.0;             // seconds of steps until the next trial
    double backoff = kMinBackoff;  // wait per second lost
  };
  // Steps on a level other than the usual one.
  struct Trial {
    std::size_t level;
    int steps = 0;
    double seconds = 0.0, bytes = 0.0;
  };

  void count_usual(double bytes, double seconds);
  void count_trial(double bytes, double seconds);
  void end_trial(double saved);

  std::atomic<Threads> threads_;
  static_assert(std::atomic<Threads>::is_always_lock_free);
  std::mutex mutex_;
  std::vector<Level> levels_;  // from a team of all threads down to one
  std::size_t home_ = 0;       // the usual one
  double saved_ = 0.0;         // recent seconds saved against the level below
  bool is_trying_ = false;
  Trial trial_{0};
};

// The pace for a rule (keyed by a unique address), a size class and a thread limit. Shared by all
// optimizers of the process, so that a new one starts from what others have learnt. Throws
// std::bad_alloc.
Pace& pace_of(const void* rule, std::size_t bytes, int limit, bool team);

}  // namespace fusedstep
