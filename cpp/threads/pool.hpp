// Work-stealing thread pool. An OpenMP region cannot end before its last thread has started, and
// its threads spin when cores are oversubscribed (docs/decisions.md). Here
//
// - available threads take the parts and late ones find none: the caller waits only for parts in
//   progress;
// - parts stay with their threads from job to job unless a thread is late (shares.hpp);
// - an idle thread parks at once, unless jobs have followed each other within microseconds: then it
//   first spins for twice that time;
// - threads avoid their caller's CPU: when all CPUs are busy, the scheduler tends to put a woken
//   thread on its waker's CPU, and the two take turns.
//
// Threads start on demand, never end and are never joined, so the process may exit or fork at any
// time. A forked child gets its own pool.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "parallel.hpp"
#include "shares.hpp"
#include "sync.hpp"

namespace fusedstep {

class Pool {
 public:
  static constexpr int kMaxThreads = 1024;

  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Runs the work on the caller's thread and up to threads - 1 others, in at most Share::kMaxParts
  // parts of `part` units. Concurrent callers and their helpers use at most `limit` threads
  // together.
  void run(const Work& work, std::size_t part, int threads, int limit) noexcept;

 private:
  struct Worker {
    Share share;
    Parking parking;
    ThreadHandle thread{};
  };
  struct Job;  // a thread's snapshot of the job

  void share_out(const Work& work, std::size_t begin, std::size_t part, int threads) noexcept;
  int start_threads(int wanted) noexcept;
  void serve(int self) noexcept;
  std::uint64_t next_job(int self, std::uint32_t seen) noexcept;
  std::uint32_t help(const Job& job, int self) noexcept;
  void wake_helpers(const Job& job, int count) noexcept;
  void await_parts() noexcept;
  void avoid_cpu(int cpu) noexcept;
  // Callers have priority on the cores: surplus helpers leave.
  bool may_help(int self) const {
    return self + callers_.load(std::memory_order_relaxed) <=
           limit_.load(std::memory_order_relaxed);
  }

  Atomic<int> callers_{0}, limit_{1};
  Atomic<bool> in_use_{false};  // by the caller whose job it is

  // The job: written by its caller while no part of it is dealt.
  Atomic<void (*)(void*, std::size_t, std::size_t)> body_{nullptr};
  Atomic<void*> context_{nullptr};
  Atomic<std::size_t> begin_{0}, end_{0}, part_{1};  // in units: of all, and of one part
  Atomic<Clock::rep> spin_{0};                       // how long to spin for the next job
  // Job number above, its number of threads below: 0 when it is over.
  alignas(64) Atomic<std::uint64_t> open_{0};
  alignas(64) Atomic<std::uint64_t> to_wake_{0};  // job number above, next thread below
  alignas(64) Atomic<std::uint32_t> left_{0};     // parts not yet done

  // Owned by the caller whose job it is.
  Parking caller_;
  std::uint32_t number_ = 0;
  Clock::time_point last_end_{}, retry_{};
  Clock::duration last_pause_{};  // between two jobs
  int started_ = 1;
  int avoided_ = kNoCpu;  // by the helpers, since their caller runs there
  std::array<std::unique_ptr<Worker>, kMaxThreads> workers_;  // the first is the caller's
};

}  // namespace fusedstep
