// What a launch reads on the device: plain data, written by stepper.cpp and read by the sweeps.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel/tensor.hpp"
#include "numeric/reduce.hpp"

namespace fusedstep::cuda {

constexpr unsigned kNone = 0xffffffffu;

// One tensor, or one row of it.
struct Task {
  TensorView tensor;
  std::uint64_t first, size;           // the elements of the tensor that it is
  std::uint64_t first_set, set_count;  // its gradients, in Sweep::sets
  std::uint64_t first_block;           // of the sums of its blocks (reduce.hpp)
  std::uint32_t group, counter;        // its group, and the counter that numbers its steps
  std::uint32_t slot;                  // its place in the norm
  std::uint32_t chunks;                // that it is cut into where it is summed
  Compute compute;
};

// The elements from `begin` on of one task, as many as Chunks::size and the task have: the work of
// one block. `begin` is a multiple of kReduceBlock.
struct Chunk {
  std::uint64_t begin;
  std::uint32_t task;
};

// What a launch is cut into, a block each.
struct Chunks {
  const Chunk* list;
  std::uint64_t count, size;
};

struct GroupOptions {
  double scalars[kMaxScalars];
  double weight_decay, max_norm, max_value;
  unsigned variant;
  bool maximize, clips;  // clips: max_norm is there
};

// What lasts from one step to the next.
struct Progress {
  std::int64_t step_count;
  unsigned ticket;     // how many blocks of a launch are done
  unsigned nonfinite;  // of this step so far: the first slot with such a number, or kNone
  unsigned found;      // of the step before
};

// Everything that the blocks of a launch are told.
struct Sweep {
  // Who takes part.
  const Task* tasks;
  Chunks chunks;
  const std::uint32_t* counters;      // that move
  const std::uint32_t* task_of_slot;  // kNone: nobody there, or no elements
  unsigned* tickets;                  // of tasks: how many of its chunks are summed
  std::uint64_t counter_count, slot_count;
  const GroupOptions* groups;
  std::uint64_t group_count;

  // Their gradients, as in roster.hpp.
  void* const* sets;
  const double* weights;
  double divisor, scale;
  Array scale_at;
  bool zero;

  // What is asked of the step.
  bool measures, guards;        // guards: a number that is not finite stops it
  bool clip_per_group, counts;  // counts: step_count moves
  double ema_decay;

  // What the device keeps, and what it works with.
  Progress* progress;
  std::int64_t* steps;
  double *sums, *param_sums;  // of blocks
  double* task_sums;          // of tasks
  Norms* norms;               // of tasks, under a layer-wise rule
  double* clips;              // of groups
  double* scratch;            // for the tree of the slots
  bool* applied;
  double* grad_norm;
};

// How many elements a block takes: enough blocks to keep all processors busy, few enough for what
// a block begins with not to count. At least `smallest`, a multiple of kReduceBlock.
constexpr std::uint64_t chunk_size(std::uint64_t elements, std::uint64_t processors,
                                   std::uint64_t smallest) {
  constexpr std::uint64_t kBlocksPerProcessor = 16, kLargest = 32 * kReduceBlock;
  const std::uint64_t fair = elements / (processors * kBlocksPerProcessor);
  const std::uint64_t whole = (fair + kReduceBlock - 1) / kReduceBlock * kReduceBlock;
  return whole < smallest ? smallest : whole > kLargest ? kLargest : whole;
}

}  // namespace fusedstep::cuda
