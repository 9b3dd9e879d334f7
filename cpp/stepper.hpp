// The engine of an optimizer: tensors, groups and counters, and how one step runs over them.
// Knows no Python; trusts its pointers (bindings/arrays.hpp checks them).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernel_table.hpp"
#include "plan.hpp"
#include "registry.hpp"

namespace fusedstep {

// The hyper-parameters that some tensors share.
struct Group {
  std::array<double, kMaxScalars> scalars = {};
  unsigned variant = 0;
  bool maximize = false;
  double weight_decay = 0.0;  // coupled: added to the gradient; decoupled decay is a rule's scalar
};

struct Tensor {
  std::string name;
  void* param;
  std::size_t size;  // elements
  DType dtype;
  std::array<void*, kMaxStates> state = {};
  std::size_t group = 0;
};

// The gradients of one step: set k of tensor i is sets[i * set_count + k]; null where the tensor
// stays untouched. Weights as in kernel_table.hpp.
struct GradientSets {
  const void* const* sets;
  std::size_t set_count = 1;
  const double* weights = nullptr;
  double divisor = 1.0;
};

class Stepper {
 public:
  explicit Stepper(std::size_t rule) : rule_(rule) {}

  const RuleInfo& rule() const { return registry()[rule_]; }
  std::vector<Group>& groups() { return groups_; }
  const std::vector<Group>& groups() const { return groups_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }
  std::int64_t step_count() const { return step_count_; }
  const std::vector<std::int64_t>& steps() const { return steps_; }  // of each tensor, so far
  int threads() const { return plan_.threads(); }                    // of the last step prepared

  void add(Tensor tensor);
  void set_counters(std::int64_t step_count, const std::vector<std::int64_t>& steps);

  // All that can fail, before the first write: throws std::overflow_error where a counter is at
  // its end. Allocates only where other tensors take part than in the step before.
  void prepare(const GradientSets& gradients);

  // The sweep and the counters. Needs no GIL.
  void run() noexcept;

 private:
  // Tensors of one group, dtype and age share a functor: its powers are computed once a step.
  struct Cohort {
    std::size_t first;  // of its tensors
    Kernel kernel;
    FunctorBytes functor;
    Gradient gradient;
  };
  // One tensor that takes part in the step.
  struct Task {
    TensorView view;
    std::size_t cohort;
    std::size_t tensor;
  };

  bool is_arranged(const GradientSets& gradients) const;
  void arrange(const GradientSets& gradients);
  std::size_t cohort_of(std::size_t tensor);
  void refresh(Cohort& cohort, const GradientSets& gradients) const;
  void update_plan();
  static void run_part(void* self, int part);

  std::size_t rule_;
  std::vector<Group> groups_;
  std::vector<Tensor> tensors_;
  std::vector<std::int64_t> steps_;
  std::int64_t step_count_ = 0;

  // What outlives the step, because the next one is mostly like it: who takes part, and the plan.
  std::vector<Task> tasks_;
  std::vector<Cohort> cohorts_;
  const void* const* arranged_sets_ = nullptr;  // null: to be arranged anew
  std::size_t arranged_set_count_ = 0;
  std::vector<bool> takes_part_;
  std::vector<Plan::Tensor> extents_;
  Plan plan_;
  int planned_threads_ = 0;
};

}  // namespace fusedstep
