// The threads of a block: concurrent on the device, sequential on the CPU. A sweep is a sequence of
// phases that communicate through shared memory, so both give the same results.
#pragma once

#include <cstdint>

#include "numeric/reduce.hpp"

namespace fusedstep::cuda {

constexpr unsigned kThreads = 256;
constexpr unsigned kWarp = static_cast<unsigned>(kLanes);  // one thread per lane
constexpr unsigned kWarps = kThreads / kWarp;

// Before a loop over elements: occupancy hides its latency, and unrolling would use up registers.
#if defined(__CUDA_ARCH__)
#define FUSEDSTEP_ROLLED _Pragma("unroll 1")
#else
#define FUSEDSTEP_ROLLED
#endif

struct Block {
  unsigned index, count;  // blockIdx and gridDim

  // Runs body(thread) for every thread, then a barrier: all threads must reach it, or none.
  template <class Body>
  FUSEDSTEP_HD void each(Body body) const {
#if defined(__CUDA_ARCH__)
    body(threadIdx.x);
    __syncthreads();
#else
    // Permuted, so that no code relies on the order.
    for (unsigned k = 0; k < kThreads; ++k) body((k * 167 + index) % kThreads);
#endif
  }
};

// A number of each thread that outlives a phase: in a register on the device.
template <class Number>
class PerThread {
 public:
  FUSEDSTEP_HD Number& operator[]([[maybe_unused]] unsigned thread) {
#if defined(__CUDA_ARCH__)
    return own_;
#else
    return all_[thread];
#endif
  }

 private:
#if defined(__CUDA_ARCH__)
  Number own_;
#else
  Number all_[kThreads];
#endif
};

// Each thread's number(thread) becomes the greatest of its warp. Between two phases.
template <class Number>
FUSEDSTEP_HD void greatest_of_warp(Number number) {
#if defined(__CUDA_ARCH__)
  std::uint32_t& own = number(threadIdx.x);
  for (unsigned width = kWarp / 2; width > 0; width /= 2) {
    const std::uint32_t other = __shfl_xor_sync(~0u, own, static_cast<int>(width));
    own = own > other ? own : other;
  }
#else
  for (unsigned warp = 0; warp < kThreads; warp += kWarp) {
    std::uint32_t greatest = 0;
    for (unsigned k = 0; k < kWarp; ++k)
      greatest = number(warp + k) > greatest ? number(warp + k) : greatest;
    for (unsigned k = 0; k < kWarp; ++k) number(warp + k) = greatest;
  }
#endif
}

// The rest is for memory that other blocks of the same launch write.

// Number of earlier arrivals, whose writes are visible afterwards.
FUSEDSTEP_HD unsigned take_ticket(unsigned* ticket) {
#if defined(__CUDA_ARCH__)
  __threadfence();
  const unsigned before = atomicAdd(ticket, 1u);
  __threadfence();
  return before;
#else
  return (*ticket)++;
#endif
}

FUSEDSTEP_HD void atomic_min(unsigned* number, unsigned to) {
#if defined(__CUDA_ARCH__)
  if (*static_cast<volatile unsigned*>(number) > to) atomicMin(number, to);
#else
  *number = to < *number ? to : *number;
#endif
}

// Bypasses L1, which is not coherent between multiprocessors.
template <class T>
FUSEDSTEP_HD T load_l2(const T* address) {
#if defined(__CUDA_ARCH__)
  return __ldcg(address);
#else
  return *address;
#endif
}

}  // namespace fusedstep::cuda
