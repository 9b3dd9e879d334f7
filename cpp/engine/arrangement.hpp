// Which tensors take part in a step, and with which gradients: the same wherever steps run.
#pragma once

#include <cstddef>
#include <vector>

#include "roster.hpp"

namespace fusedstep {

// One tensor, or one row of it.
struct Participant {
  std::size_t tensor;     // its number
  std::size_t first = 0;  // the element of the tensor that it starts with
  std::size_t size;       // elements
  std::size_t first_set, set_count;
  std::size_t slot;  // its place among all, there or not: the shape of the norm
};

class Arrangement {
 public:
  // All tensors that have a gradient and are not frozen. Mostly they are those of the step before:
  // false then, and nothing is done.
  bool arrange(const Roster& roster, const GradientSets& gradients);
  // Rows of one tensor, each a tensor of its own.
  void arrange(const RowGradients& gradients);
  // To be called where anything has changed but the gradients.
  void invalidate() { is_valid_ = false; }

  const std::vector<Participant>& participants() const { return participants_; }
  std::size_t slots() const { return slots_; }

 private:
  bool is_arranged(const Roster& roster, const GradientSets& gradients) const;

  std::vector<Participant> participants_;
  std::size_t slots_ = 0, set_count_ = 0;
  std::vector<bool> has_gradient_;
  bool is_valid_ = false;
};

}  // namespace fusedstep
