// The parts of one job, dealt to threads, with work stealing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "sync.hpp"

namespace fusedstep {

// A thread's own range of consecutive parts. The owner takes from the front, where its cache still
// holds the previous step's data; thieves take from the back. The word includes the job number, so
// that a late thread cannot take a part of the next job.
class alignas(64) Share {  // avoids false sharing
 public:
  static constexpr std::uint32_t kMaxParts = 0xffff;

  void deal(std::uint32_t job, std::uint32_t first, std::uint32_t last) {
    word_.store(pack(job, first, last), std::memory_order_release);
  }

  bool is_left(std::uint32_t job) const {
    const std::uint64_t word = word_.load(std::memory_order_acquire);
    return job_of(word) == job && first_of(word) != last_of(word);
  }

  // Takes a part of this job, if any is left.
  bool take(std::uint32_t job, bool from_front, std::uint32_t& part) {
    std::uint64_t word = word_.load(std::memory_order_acquire);
    for (;;) {
      const std::uint32_t first = first_of(word), last = last_of(word);
      if (job_of(word) != job || first == last) return false;
      const std::uint64_t rest =
          from_front ? pack(job, first + 1, last) : pack(job, first, last - 1);
      // Release: the job's fields were read before, and those reads must not sink below this.
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
