// Which threads a step gets: those that have lately been the fastest.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

#include "parallel.hpp"

namespace fusedstep {

// More threads are not always faster: the cores may be busy with other programs, or with the
// threads of BLAS, which look out for work; and one thread may be all that the memory can feed. No
// look at the machine tells, so steps are timed, and now and then a few are made on half or on
// twice as many threads. What has lost time is tried again when several times as much has passed:
// soon at first, since it may have been one stall that comes only once, and then later and later,
// so that trials lose less than 1 % of all time.
//
// A stall now and then is worth it where the steps between have saved more: what they save is kept
// account of, and only when that is used up fewer threads are tried at once.
class Pace {
 public:
  // At most `limit` threads; with `team`, another library's are a choice too, where there are as
  // many of them.
  Pace(int limit, bool team);

  // For the next step.
  Threads threads() const { return threads_.load(std::memory_order_relaxed); }
  // A step over so many bytes took so many seconds on so many threads. Steps of other threads of
  // the program that come at the same moment do not count.
  void took(Threads threads, std::size_t bytes, double seconds) noexcept;

 private:
  static constexpr double kLeastCaution = 8.0, kMostCaution = 128.0;
  struct Level {
    Threads threads;
    int steps = 0;
    double pace = 0.0;               // seconds a byte, lately
    double wait = 0.0;               // seconds of steps until it is tried again
    double caution = kLeastCaution;  // for so many times what it will have lost
  };
  // Steps on another level than the usual one.
  struct Trial {
    std::size_t level;
    int steps = 0;
    double seconds = 0.0, bytes = 0.0;
  };

  void count_usual(double bytes, double seconds);
  void count_trial(double bytes, double seconds);
  void end_trial(double saved);

  std::atomic<Threads> threads_;
  std::mutex mutex_;
  std::vector<Level> levels_;  // from a team of all threads down to one
  std::size_t home_ = 0;       // the usual one
  double saved_ = 0.0;         // seconds, against the level below, lately
  bool is_trying_ = false;
  Trial trial_{0};
};

// That of steps of a rule (known by an address of its own) over about so many bytes, on at most so
// many threads: one for all optimizers of the process, so that what one has learnt is known to the
// next.
// Throws std::bad_alloc.
Pace& pace_of(const void* rule, std::size_t bytes, int limit, bool team);

}  // namespace fusedstep
