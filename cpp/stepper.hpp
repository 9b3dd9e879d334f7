// The engine of an optimizer: tensors, groups and counters, and how one step runs over them.
// Knows no Python; trusts its pointers (bindings/arrays.hpp checks them).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "batch.hpp"

namespace fusedstep {

// The hyper-parameters that some tensors share.
struct Group {
  std::array<double, kMaxScalars> scalars = {};
  unsigned variant = 0;
  bool maximize = false;
  double weight_decay = 0.0;  // coupled: added to the gradient; decoupled decay is a rule's scalar
  std::optional<double> max_norm;  // asks for the norm, and clips by it
  double max_value = std::numeric_limits<double>::infinity();
};

struct Tensor {
  std::string name;
  void* param;
  std::size_t size;  // elements
  DType dtype;
  std::array<void*, kMaxStates> state = {};
  std::size_t group = 0;
  void* average = nullptr;
  std::uint16_t* copy = nullptr;
};

// The gradients of one step: set k of tensor i is sets[i * set_count + k]; null where the tensor
// stays untouched. Weights as in kernel_table.hpp.
struct GradientSets {
  const void* const* sets;
  std::size_t set_count = 1;
  const double* weights = nullptr;
  double divisor = 1.0;
  double scale = 1.0;
  bool zero = false;
};

// Gradients of some rows of one tensor: those of rows[i] are sets[first[i]] ... sets[first[i + 1]],
// to be added in this order. Rows rise; each is `row_size` elements long; there is at least one.
// The tensor's counter moves, step_count() does not.
struct RowGradients {
  std::size_t tensor = 0, row_size = 0;
  std::vector<std::size_t> rows, first;
  std::vector<const void*> sets;
  double scale = 1.0;
};

// What is asked of every step, beside the groups' options.
struct Policy {
  bool skip_nonfinite = false;
  bool error_if_nonfinite = false;
  bool clip_per_group = false;
  double ema_decay = 0.0;  // of the tensors that have an average
};

struct Outcome {
  bool applied = true;
  std::optional<double> grad_norm;                      // where somebody asked
  std::optional<std::size_t> nonfinite = std::nullopt;  // the first such tensor, where it matters
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
  Policy& policy() { return policy_; }
  int threads() const { return next_ == nullptr ? 1 : next_->threads(); }  // of the step prepared

  void add(Tensor tensor);
  void set_counters(std::int64_t step_count, const std::vector<std::int64_t>& steps);
  // A frozen tensor's gradients are as good as none.
  void freeze(std::size_t tensor, bool frozen);
  bool is_frozen(std::size_t tensor) const { return frozen_.at(tensor); }

  // All that can fail, before the first write: throws std::overflow_error where a counter is at
  // its end. Allocates only where other tensors take part than in the step before.
  void prepare(const GradientSets& gradients);
  void prepare(const RowGradients& gradients);

  // The sweep and the counters, or neither. Needs no GIL.
  Outcome run() noexcept;

 private:
  bool is_arranged(const GradientSets& gradients) const;
  void arrange(const GradientSets& gradients);
  Cohort cohort_from(std::size_t tensor) const;
  std::size_t cohort_of(std::size_t tensor);
  Task task_of(std::size_t tensor) const;
  void refresh(Cohort& cohort, const GradientSets& gradients) const;
  void ready(Batch& batch, std::size_t slots);
  bool asks_for_norm() const;
  void clip(double norm) noexcept;

  std::size_t rule_;
  std::vector<Group> groups_;
  std::vector<Tensor> tensors_;
  std::vector<std::int64_t> steps_;
  std::int64_t step_count_ = 0;
  Policy policy_;
  std::vector<bool> frozen_;

  // What outlives the step, because the next one is mostly like it: who takes part, and the plan.
  Batch dense_, rows_;
  const void* const* arranged_sets_ = nullptr;  // null: to be arranged anew
  std::size_t arranged_set_count_ = 0;
  std::vector<bool> takes_part_;
  std::vector<double> ones_;

  Batch* next_ = nullptr;  // what run() is to run
  bool measures_ = false;
};

}  // namespace fusedstep
