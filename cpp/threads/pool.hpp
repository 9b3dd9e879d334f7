// Threads of our own that help with a job. A team of OpenMP cannot end before its last thread has
// begun, and its threads spin where the cores belong to others (docs/decisions.md); here
//
// - whoever is there takes the work, and a thread that comes late finds none: the caller waits for
//   parts that somebody is in the middle of, and for nothing else;
// - parts stay with their threads from job to job, while nobody is late (shares.hpp);
// - a thread that finds nothing sleeps at once, but where jobs have followed each other within
//   microseconds: there it looks out for the next one for twice as long;
// - threads keep off the CPU that their caller is on. Where all CPUs are busy the scheduler likes
// to
//   wake a thread beside the one that woke it, and then the two take turns.
//
// Threads are started when they are first needed, never end and are never waited for: the process
// may exit, or fork, at any time. A forked child starts with a pool of its own.
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

  // On the caller's thread and at most threads - 1 others, in parts of `part` units, of which there
  // are at most Share::kMaxParts. Where several callers are there, they and all that help them are
  // at most `limit` threads.
  void run(const Work& work, std::size_t part, int threads, int limit) noexcept;

 private:
  struct Seat {
    Share share;
    Parking parking;
    ThreadHandle thread{};
  };
  struct Job;  // as a thread sees it

  void share_out(const Work& work, std::size_t begin, std::size_t part, int threads) noexcept;
  int start_threads(int wanted) noexcept;
  void serve(int self) noexcept;
  std::uint64_t next_job(int self, std::uint32_t seen) noexcept;
  std::uint32_t help(const Job& job, int self) noexcept;
  void wake_helpers(const Job& job, int count) noexcept;
  void await_parts() noexcept;
  void keep_off(int cpu) noexcept;
  // Callers have the cores first: who is too many leaves.
  bool may_help(int self) const {
    return self + callers_.load(std::memory_order_relaxed) <=
           limit_.load(std::memory_order_relaxed);
  }

  Atomic<int> callers_{0}, limit_{1};
  Atomic<bool> in_use_{false};  // by the caller whose job it is

  // The job. Its caller writes it while no part of it has been dealt.
  Atomic<void (*)(void*, std::size_t, std::size_t)> body_{nullptr};
  Atomic<void*> context_{nullptr};
  Atomic<std::size_t> begin_{0}, end_{0}, part_{1};  // units: of all, and of one part
  Atomic<Clock::rep> look_out_{0};                   // for the next one, for so long
  // Its number above, how many threads it has below: 0 when it is over.
  alignas(64) Atomic<std::uint64_t> open_{0};
  alignas(64) Atomic<std::uint64_t> to_wake_{0};  // its number above, who is next below
  alignas(64) Atomic<std::uint32_t> left_{0};     // parts that nobody has done yet

  // Of the caller whose job it is.
  Parking caller_;
  std::uint32_t number_ = 0;
  Clock::time_point last_end_{}, retry_{};
  Clock::duration last_pause_{};  // between two jobs
  int started_ = 1;
  int avoided_ = kNoCpu;  // by the threads, since their caller is there
  std::array<std::unique_ptr<Seat>, kMaxThreads> seats_;  // the first is the caller's
};

}  // namespace fusedstep
