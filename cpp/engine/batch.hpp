// One step over some tensors: the participants, the functors they share, and how the work is
// divided. What stays the same between steps is kept.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "arrangement.hpp"
#include "kernel/kernel_table.hpp"
#include "numeric/reduce.hpp"
#include "plan.hpp"
#include "registry.hpp"
#include "threads/pace.hpp"
#include "threads/parallel.hpp"

namespace fusedstep {

// Tensors that share a functor and gradient options.
struct Cohort {
  std::size_t group = 0;
  std::size_t tensor = 0;  // index of the first
  const Driver* driver = nullptr;
  const Sweeps* sweeps = nullptr;
  RuleInfo::Fit fit = nullptr;  // for layer-wise rules
  FunctorBytes functor = {};
  Gradient gradient = {};
  bool is_mixed = true;         // as GradientSets::mixed
  bool is_plain = false;        // gradients are used as they are
  bool is_quick = false;        // and by the functor that all share
  const Array* sets = nullptr;  // gradients of all participants
};

// A tensor, or some rows of it, one after the other.
struct Task {
  const TensorView* tensor;
  const Participant* participant;
  std::size_t cohort;
  std::size_t bytes;                // touched by the step
  bool is_bare;                     // whole, stored as computed, with neither average nor copy
  const NamedRows* rows = nullptr;  // null: the whole tensor

  std::size_t item_bytes() const { return bytes_of(tensor->param.format, 1); }
  Extent extent() const {
    return {rows != nullptr ? nullptr : tensor->param.data, participant->size * item_bytes()};
  }
  // Elements that no cut divides.
  std::size_t indivisible() const {
    return rows != nullptr && rows->is_short ? rows->size
                                             : std::max(tensor->row_size, tensor->block);
  }
  // What a norm knows as a tensor each, and the blocks of its sum.
  std::size_t slots() const { return rows != nullptr ? rows->count : 1; }
  std::size_t blocks_per_slot() const {
    return reduce_blocks(rows != nullptr ? rows->size : participant->size);
  }
};

class Batch {
 public:
  std::vector<Task> tasks;
  std::vector<Cohort> cohorts;

  void clear();
  // Call after tasks have changed. Allocates.
  void arrange();
  bool is_arranged() const { return arranged_; }
  // Allocates for measure() and probe(): `slots` is the number of possible slots.
  void reserve_norms(std::size_t slots);

  std::size_t bytes() const { return plan_.bytes(); }  // touched by run()
  // Limits the threads of a step, and says whether a team's may be used (team.hpp). May allocate.
  void set_threads(int limit, bool team, const RuleInfo& rule);
  int threads() const { return threads_.count; }  // used by the latest step

  // Bracket a step's sweeps, which are timed if several threads are possible.
  void start() noexcept;
  void end() noexcept;

  // Reads the gradients: sums of squares. True if all are finite.
  bool measure() noexcept;
  // Norm from the last measure(): of all slots, or of one group's tasks.
  static constexpr std::size_t kAllGroups = std::size_t(-1);
  double norm(std::size_t group = kAllGroups) noexcept;
  // The first task with a non-finite gradient; tasks.size() if none.
  std::size_t first_nonfinite() const noexcept;

  // First sweep of a layer-wise rule.
  void probe() noexcept;

  void run(double ema_decay) noexcept;

 private:
  static void run_lines(void* self, std::size_t first, std::size_t last);
  static void measure_blocks(void* self, std::size_t first, std::size_t last);
  static void probe_blocks(void* self, std::size_t first, std::size_t last);
  template <class Visit>
  void visit_blocks(std::size_t first, std::size_t last, Visit visit);
  Threads threads_for(std::size_t bytes) const;
  Part part_of(const Task& task) const {
    return {task.tensor, task.participant->first,
            cohorts[task.cohort].sets + task.participant->first_set};
  }
  void sweep_blocks(void (*body)(void* self, std::size_t first, std::size_t last)) noexcept;

  Plan plan_;
  bool arranged_ = false;
  int limit_ = 1;
  bool team_ = false;
  Threads threads_;
  Pace* pace_ = nullptr;  // null: single-threaded
  std::chrono::steady_clock::time_point start_;
  double ema_decay_ = 0.0;
  std::vector<Plan::Tensor> extents_;

  std::vector<std::size_t> first_block_;  // per task, and the end
  std::vector<double> sums_, others_;     // per block
  std::vector<unsigned char> finite_;     // per block
  std::vector<double> slot_sums_;         // per slot of a task
  std::vector<double> slots_;             // per slot of the norm
  std::vector<Norms> norms_;
  std::size_t gradient_bytes_ = 0;
};

}  // namespace fusedstep
