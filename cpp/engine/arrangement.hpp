// Which tensors take part in a step, and with which gradients; shared by all engines.
#pragma once

#include <cstddef>
#include <vector>

#include "roster.hpp"

namespace fusedstep {

// One tensor, or one row of it.
struct Participant {
  std::size_t tensor;     // its index
  std::size_t first = 0;  // its first element within the tensor
  std::size_t size;       // elements
  std::size_t first_set, set_count;
  std::size_t slot;  // its place among all tensors: fixes the norm's order
};

class Arrangement {
 public:
  // All tensors that have a gradient and are not frozen. Usually those of the previous step: then
  // returns false and does nothing.
  bool arrange(const Roster& roster, const GradientSets& gradients);
  // The same, and rows, each treated as a tensor: all the sets, one after the other.
  void arrange(const Roster& roster, const JointGradients& gradients);
  // Call after any change other than to the gradients.
  void invalidate() { is_valid_ = false; }

  const std::vector<Participant>& participants() const { return participants_; }
  std::size_t slots() const { return slots_; }

 private:
  bool is_arranged(const GradientSets& gradients) const;

  std::vector<Participant> participants_;
  std::size_t slots_ = 0, set_count_ = 0;
  std::vector<unsigned char> has_gradient_;  // not bool: every step compares all of them
  bool is_valid_ = false;
};

}  // namespace fusedstep
