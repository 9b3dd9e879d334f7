#include "arrangement.hpp"

namespace fusedstep {

bool Arrangement::arrange(const Roster& roster, const GradientSets& gradients) {
  if (is_arranged(gradients)) return false;
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

bool Arrangement::is_arranged(const GradientSets& gradients) const {
  if (!is_valid_ || set_count_ != gradients.set_count) return false;
  const Array* set = gradients.sets;
  for (const unsigned char has : has_gradient_) {
    if (bool(*set) != bool(has)) return false;
    set += gradients.set_count;
  }
  return true;
}

void Arrangement::arrange(const Roster& roster, const JointGradients& gradients) {
  std::size_t first_set = 0;
  invalidate();
  participants_.clear();
  slots_ = 0;
  if (gradients.sets != nullptr) {
    arrange(roster, GradientSets{gradients.sets});
    first_set = slots_;
    invalidate();  // with rows it is no arrangement of whole tensors
  }
  for (const RowGradients& table : gradients.tables) {
    const bool one = table.is_in_order();
    for (std::size_t i = 0; i < table.rows.size(); ++i) {
      const std::size_t sets = one ? 1 : table.first[i + 1] - table.first[i];
      participants_.push_back({table.tensor, table.rows[i] * table.row_size, table.row_size,
                               first_set, sets, slots_++});
      first_set += sets;
    }
  }
}

}  // namespace fusedstep
