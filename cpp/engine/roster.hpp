// The tensors, groups and options of an optimizer, common to all engines. Independent of Python;
// pointers are trusted (bindings/check.hpp checks them).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "registry.hpp"

namespace fusedstep {

// Hyper-parameters shared by some tensors.
struct Group {
  std::array<double, kMaxScalars> scalars = {};
  unsigned variant = 0;
  bool maximize = false;
  double weight_decay = 0.0;  // coupled: added to the gradient; decoupled decay is a rule's scalar
  std::optional<double> max_norm;  // enables clipping by norm
  double max_value = std::numeric_limits<double>::infinity();
  Rounding rounding = Rounding::nearest;  // of narrow parameters
};

struct Tensor {
  std::string name;
  TensorView view;
  std::size_t size;  // elements
  std::size_t group = 0;

  Format format() const { return view.param.format; }
  Compute compute() const { return compute_of(view.param.format); }
};

// The divisor of gradients: a number, or where to read one on the device.
struct Scale {
  double value = 1.0;
  Array at = {};
};

// The gradients of one step: set k of tensor i is sets[i * set_count + k], absent if the tensor is
// to stay unchanged. Weights as in gradient.hpp.
struct GradientSets {
  const Array* sets;
  std::size_t set_count = 1;
  const double* weights = nullptr;
  double divisor = 1.0;
  Scale scale = {};
  bool zero = false;
  bool mixed = true;  // some may be stored otherwise than their parameters
};

// Gradients of some rows of one tensor, at least one: as in NamedRows, with `first` and `gradients`
// empty where those are null.
struct RowGradients {
  std::size_t tensor = 0, row_size = 0;
  std::vector<std::size_t> rows, first, gradients;
  Array values;

  bool is_in_order() const { return first.empty(); }
  // The arrays of all gradients, those of a row one after the other.
  std::vector<Array> sets() const {
    std::vector<Array> result;
    const std::size_t count = is_in_order() ? rows.size() : gradients.size();
    result.reserve(count);
    for (std::size_t k = 0; k < count; ++k) {
      const std::size_t at = (is_in_order() ? k : gradients[k]) * row_size;
      result.push_back({static_cast<std::byte*>(values.data) + bytes_of(values.format, at), nullptr,
                        values.format});
    }
    return result;
  }
};

// One step over rows of some tensors, and over whole others: tables of different tensors, in their
// order, and sets as in GradientSets, one per tensor (null: of none), absent for those of tables.
struct JointGradients {
  std::vector<RowGradients> tables;
  const Array* sets = nullptr;
  Scale scale = {};
  bool advances = true;  // step_count(); each tensor's own counter always
  bool mixed = true;     // as of GradientSets
};

// Options of every step, besides the groups'.
struct Policy {
  bool skip_nonfinite = false;
  bool error_if_nonfinite = false;
  bool clip_per_group = false;
  double ema_decay = 0.0;  // for tensors that have an average
  std::uint64_t seed = 0;  // of stochastic rounding
};

struct StepResult {
  bool applied = true;
  std::optional<double> grad_norm;                      // if measured
  std::optional<std::size_t> nonfinite = std::nullopt;  // first with a non-finite gradient
};

// Reserves space for `count` more elements, at least twice the present: many additions cost what
// one does.
template <class T>
void reserve_more(std::vector<T>& vector, std::size_t count) {
  const std::size_t needed = vector.size() + count;
  if (needed > vector.capacity()) vector.reserve(std::max(needed, 2 * vector.capacity()));
}

class Roster {
 public:
  const RuleInfo& rule() const { return *rule_; }
  std::vector<Group>& groups() { return groups_; }
  const std::vector<Group>& groups() const { return groups_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }
  Policy& policy() { return policy_; }
  bool is_frozen(std::size_t tensor) const { return frozen_.at(tensor); }

  // Whether a step starts by reading all gradients.
  bool measures() const {
    bool norm = false;
    for (const Group& group : groups_) norm = norm || group.max_norm.has_value();
    return norm || policy_.skip_nonfinite || policy_.error_if_nonfinite;
  }

 protected:
  explicit Roster(const RuleInfo& rule) : rule_(&rule) {}

  // Reserves space, so that enlist() and groups().push_back() cannot fail.
  void reserve(std::size_t groups, std::size_t tensors) {
    reserve_more(groups_, groups);
    reserve_more(tensors_, tensors);
    reserve_more(frozen_, tensors);
  }

  // Sets what follows from the tensor's arrays and its place.
  void enlist(Tensor tensor) {
    TensorView& view = tensor.view;
    view.number = static_cast<std::uint32_t>(tensors_.size());
    view.is_native = is_native(view.param.format);
    view.block = 1;
    for (const Array& state : view.state) {
      if (!state) continue;
      view.is_native = view.is_native && is_native(state.format);
      view.block = std::max(view.block, info_of(state.format).block);
    }
    tensors_.push_back(std::move(tensor));
    frozen_.push_back(false);
  }

  // The gradients, with their bytes, that a step zeroes though their tensors are frozen: they must
  // not pile up until these are thawed.
  std::vector<std::pair<void*, std::size_t>> idle(const GradientSets& gradients) const {
    std::vector<std::pair<void*, std::size_t>> result;
    for (std::size_t i = 0; gradients.zero && i < tensors_.size(); ++i)
      for (std::size_t k = 0; frozen_[i] && k < gradients.set_count; ++k)
        if (const Array& array = gradients.sets[i * gradients.set_count + k];
            array && tensors_[i].size != 0)
          result.emplace_back(array.data, bytes_of(array.format, tensors_[i].size));
    return result;
  }

  // Throw std::overflow_error if one more step would overflow the counter.
  void check_counter(std::size_t i, std::int64_t steps) const {
    if (steps == std::numeric_limits<std::int64_t>::max())
      throw std::overflow_error("parameter '" + tensors_[i].name +
                                "': the step counter has reached its maximum, 2**63 - 1");
  }
  static void check_step_count(std::int64_t count) {
    if (count == std::numeric_limits<std::int64_t>::max())
      throw std::overflow_error("step_count has reached its maximum, 2**63 - 1");
  }

  const RuleInfo* rule_;
  std::vector<Group> groups_;
  std::vector<Tensor> tensors_;
  std::vector<bool> frozen_;
  Policy policy_;
};

}  // namespace fusedstep
