// What a launch reads on the device: plain data, written by stepper.cpp, read by the sweeps.
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
  std::uint64_t first, size;           // its elements within the tensor
  std::uint64_t first_set, set_count;  // its gradients, in Sweep::sets
  std::uint64_t first_block;           // of its block sums (reduce.hpp)
  std::uint32_t group, counter;        // its group, and its step counter
  std::uint32_t slot;                  // its place in the norm
  std::uint32_t chunks;                // number of chunks in a summing sweep
  Compute compute;
};

// One block's work: elements of one task from `begin` on, up to Chunks::size of them. `begin` is a
// multiple of kReduceBlock.
struct Chunk {
  std::uint64_t begin;
  std::uint32_t task;
};

// The chunks of a launch, one per block.
struct Chunks {
  const Chunk* list;
  std::uint64_t count, size;
};

struct GroupOptions {
  double scalars[kMaxScalars];
  double weight_decay, max_norm, max_value;
  unsigned variant;
  bool maximize, clips;  // clips: max_norm is set
};

// State kept between steps.
struct Progress {
  std::int64_t step_count;
  unsigned ticket;     // number of blocks of a launch that are done
  unsigned nonfinite;  // of this step so far: first non-finite slot, or kNone
  unsigned found;      // the same, of the last step
};

// A gradient that no participant has, to be zeroed after a sweep unless that was called off.
struct Clear {
  void* data;
  std::uint64_t bytes;
  const Progress* progress;
  bool guards;
};

// Arguments of a launch.
struct Sweep {
  // Participants.
  const Task* tasks;
  Chunks chunks;
  const std::uint32_t* counters;      // to advance
  const std::uint32_t* task_of_slot;  // kNone: no participant or no elements
  unsigned* tickets;                  // per task: number of chunks summed
  std::uint64_t counter_count, slot_count;
  const GroupOptions* groups;
  std::uint64_t group_count;

  // Their gradients, as in roster.hpp.
  void* const* sets;
  const Format* formats;  // of each; null: all are stored as computed
  const double* weights;
  double divisor, scale;
  Array scale_at;
  bool zero;

  // Options of the step.
  bool measures, guards;        // guards: a non-finite gradient cancels the step
  bool clip_per_group, counts;  // counts: advances step_count
  double ema_decay;
  std::uint64_t seed;

  // Device state and scratch memory.
  Progress* progress;
  std::int64_t* steps;
  double *sums, *param_sums;  // per block
  double* task_sums;          // per task
  Norms* norms;               // per task, for a layer-wise rule
  double* clips;              // per group
  double* scratch;            // for the tree over the slots
  bool* applied;
  double* grad_norm;
};

// Elements per block: enough blocks to occupy all processors, few enough to amortize a block's
// setup. At least `smallest`, a multiple of kReduceBlock.
constexpr std::uint64_t chunk_size(std::uint64_t elements, std::uint64_t processors,
                                   std::uint64_t smallest) {
  constexpr std::uint64_t kBlocksPerProcessor = 16, kLargest = 32 * kReduceBlock;
  const std::uint64_t fair = elements / (processors * kBlocksPerProcessor);
  const std::uint64_t whole = (fair + kReduceBlock - 1) / kReduceBlock * kReduceBlock;
  return whole < smallest ? smallest : whole > kLargest ? kLargest : whole;
}

}  // namespace fusedstep::cuda
