// The threads of one block: on the device all at once, on the CPU one after the other. A sweep is a
// sequence of phases; what threads tell each other passes through shared memory from one phase to
// the next, so both do the same.
#pragma once

#include <cstdint>

#include "numeric/reduce.hpp"

namespace fusedstep::cuda {

constexpr unsigned kThreads = 256;
constexpr unsigned kWarp = static_cast<unsigned>(kLanes);  // threads that each take a lane
constexpr unsigned kWarps = kThreads / kWarp;

// Before a loop over elements: many threads hide its latency, and unrolling would take the
// registers that they need.
#if defined(__CUDA_ARCH__)
#define FUSEDSTEP_ROLLED _Pragma("unroll 1")
#else
#define FUSEDSTEP_ROLLED
#endif

struct Block {
  unsigned index, count;  // this block among those of the launch

  // body(thread) for every thread, which then wait for one another. To be reached by all or none.
  template <class Body>
  FUSEDSTEP_HD void each(Body body) const {
#if defined(__CUDA_ARCH__)
    body(threadIdx.x);
    __syncthreads();
#else
    // In no order that anyone could count on.
    for (unsigned k = 0; k < kThreads; ++k) body((k * 167 + index) % kThreads);
#endif
  }
};

// What follows is for memory that other blocks of the same launch write.

// How many came before; whoever comes sees what they wrote.
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

FUSEDSTEP_HD void lower(unsigned* number, unsigned to) {
#if defined(__CUDA_ARCH__)
  if (*static_cast<volatile unsigned*>(number) > to) atomicMin(number, to);
#else
  *number = to < *number ? to : *number;
#endif
}

// Past this multiprocessor's own cache, which does not see the others' writes.
template <class T>
FUSEDSTEP_HD T fresh(const T* address) {
#if defined(__CUDA_ARCH__)
  return __ldcg(address);
#else
  return *address;
#endif
}

}  // namespace fusedstep::cuda
