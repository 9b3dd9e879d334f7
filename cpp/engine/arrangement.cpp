#include "arrangement.hpp"

namespace fusedstep {

bool Arrangement::arrange(const Roster& roster, const GradientSets& gradients) {
  if (is_arranged(roster, gradients)) return false;
  const std::vector<Tensor>& tensors = roster.tensors();
  is_valid_ = false;  // until it is complete
  participants_.clear();
  has_gradient_.assign(tensors.size(), false);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::size_t first_set = i * gradients.set_count;
    has_gradient_[i] = bool(gradients.sets[first_set]);
    if (has_gradient_[i] && !roster.is_frozen(i))
      participants_.push_back({i, 0, tensors[i].size, first_set, gradients.set_count, i});
  }
  slots_ = tensors.size();
  set_count_ = gradients.set_count;
  is_valid_ = true;
  return true;
}

bool Arrangement::is_arranged(const Roster& roster, const GradientSets& gradients) const {
  if (!is_valid_ || set_count_ != gradients.set_count) return false;
  for (std::size_t i = 0; i < roster.tensors().size(); ++i)
    if (bool(gradients.sets[i * gradients.set_count]) != has_gradient_[i]) return false;
  return true;
}

void Arrangement::arrange(const RowGradients& gradients) {
  is_valid_ = false;
  participants_.clear();
  participants_.reserve(gradients.rows.size());
  for (std::size_t i = 0; i < gradients.rows.size(); ++i) {
    const bool one = gradients.is_in_order();
    const std::size_t first_set = one ? i : gradients.first[i];
    const std::size_t sets = one ? 1 : gradients.first[i + 1] - first_set;
    participants_.push_back({gradients.tensor, gradients.rows[i] * gradients.row_size,
                             gradients.row_size, first_set, sets, i});
  }
  slots_ = participants_.size();
}

}  // namespace fusedstep
