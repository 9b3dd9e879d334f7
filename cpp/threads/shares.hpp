// The parts of one job, dealt to threads and taken by whoever is there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "sync.hpp"

namespace fusedstep {

// A stretch of consecutive parts that is one thread's own: its owner takes from the front, so that
// it finds in its cache what it left there a step ago; others, who have none left, take from the
// back. The job's number is part of the word, so that a thread that comes late takes nothing of
// the next job.
class alignas(64) Share {  // a cache line of its own
 public:
  static constexpr std::uint32_t kMaxParts = 0xffff;

  void deal(std::uint32_t job, std::uint32_t first, std::uint32_t last) {
    word_.store(pack(job, first, last), std::memory_order_release);
  }

  bool is_left(std::uint32_t job) const {
    const std::uint64_t word = word_.load(std::memory_order_acquire);
    return job_of(word) == job && first_of(word) != last_of(word);
  }

  // Takes a part of this job, where there is one left.
  bool take(std::uint32_t job, bool from_front, std::uint32_t& part) {
    std::uint64_t word = word_.load(std::memory_order_acquire);
    for (;;) {
      const std::uint32_t first = first_of(word), last = last_of(word);
      if (job_of(word) != job || first == last) return false;
      const std::uint64_t rest =
          from_front ? pack(job, first + 1, last) : pack(job, first, last - 1);
      // Release: what was read of the job before must not be read after its part is taken.
      if (word_.compare_exchange_weak(word, rest, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        part = from_front ? first : last - 1;
        return true;
      }
    }
  }

 private:
  static std::uint64_t pack(std::uint32_t job, std::uint32_t first, std::uint32_t last) {
    return std::uint64_t{job} << 32 | first << 16 | last;
  }
  static std::uint32_t job_of(std::uint64_t word) { return std::uint32_t(word >> 32); }
  static std::uint32_t first_of(std::uint64_t word) { return std::uint32_t(word) >> 16; }
  static std::uint32_t last_of(std::uint64_t word) { return std::uint32_t(word) & kMaxParts; }

  Atomic<std::uint64_t> word_{0};
};

}  // namespace fusedstep
