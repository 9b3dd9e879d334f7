// The threads of one block: on the device all at once, on the CPU one after the other. A sweep is a
// sequence of phases; what threads tell each other passes through shared memory from one phase to
// the next, so both do the same.
#pragma once

#include <cstdint>

#include "../reduce.hpp"

namespace fusedstep::cuda {

constexpr unsigned kThreads = 256;
constexpr unsigned kWarps = kThreads / kLanes;

struct Block {
  unsigned index, count;  // this block among those of the launch

  // body(thread) for every thread, which then wait for one another. To be reached by all or none.
  template <class Body>
  FUSEDSTEP_HD void each(Body body) const {
#if defined(__CUDA_ARCH__)
    body(threadIdx.x);
    __syncthreads();
#else
    for (unsigned thread = 0; thread < kThreads; ++thread) body(thread);
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
