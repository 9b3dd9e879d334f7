#include "stepper.hpp"

#include <limits>
#include <stdexcept>
#include <utility>

#include "dispatch.hpp"
#include "parallel.hpp"

namespace fusedstep {

void Stepper::add(Tensor tensor) {
  tensors_.push_back(std::move(tensor));
  steps_.push_back(0);
  arranged_sets_ = nullptr;
}

void Stepper::set_counters(std::int64_t step_count, const std::vector<std::int64_t>& steps) {
  steps_ = steps;
  step_count_ = step_count;
  arranged_sets_ = nullptr;
}

void Stepper::prepare(const GradientSets& gradients) {
  if (!is_arranged(gradients)) arrange(gradients);
  if (planned_threads_ != thread_limit()) update_plan();
  for (Cohort& cohort : cohorts_) refresh(cohort, gradients);
  if (step_count_ == std::numeric_limits<std::int64_t>::max())
    throw std::overflow_error("step_count is at its end, 2**63 - 1");
}

bool Stepper::is_arranged(const GradientSets& gradients) const {
  if (arranged_sets_ != gradients.sets || arranged_set_count_ != gradients.set_count) return false;
  for (std::size_t i = 0; i < tensors_.size(); ++i)
    if ((gradients.sets[i * gradients.set_count] != nullptr) != takes_part_[i]) return false;
  return true;
}

void Stepper::arrange(const GradientSets& gradients) {
  arranged_sets_ = nullptr;  // not valid until it is whole
  planned_threads_ = 0;
  tasks_.clear();
  cohorts_.clear();
  takes_part_.assign(tensors_.size(), false);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const void* const* const sets = gradients.sets + i * gradients.set_count;
    if (sets[0] == nullptr) continue;
    takes_part_[i] = true;
    tasks_.push_back({{tensors_[i].param, tensors_[i].state, sets}, cohort_of(i), i});
  }
  arranged_sets_ = gradients.sets;
  arranged_set_count_ = gradients.set_count;
}

// Neighbours are alike, as a rule: only the newest cohort is looked at.
std::size_t Stepper::cohort_of(std::size_t i) {
  const auto is_like = [&](std::size_t first) {
    return tensors_[first].group == tensors_[i].group &&
           tensors_[first].dtype == tensors_[i].dtype && steps_[first] == steps_[i];
  };
  if (cohorts_.empty() || !is_like(cohorts_.back().first)) cohorts_.push_back({i, {}, {}, {}});
  return cohorts_.size() - 1;
}

void Stepper::refresh(Cohort& cohort, const GradientSets& gradients) const {
  const Tensor& tensor = tensors_[cohort.first];
  const Group& group = groups_[tensor.group];
  const std::int64_t step = steps_[cohort.first];
  if (step == std::numeric_limits<std::int64_t>::max())
    throw std::overflow_error("parameter '" + tensor.name +
                              "': the step counter is at its end, 2**63 - 1");
  const auto dtype = static_cast<std::size_t>(tensor.dtype);
  cohort.kernel = current_table().kernel[rule_][group.variant][dtype];
  rule().prepare[group.variant][dtype](group.scalars.data(), step + 1, &cohort.functor);
  cohort.gradient = {gradients.set_count, gradients.weights,         gradients.divisor,
                     group.maximize,      group.weight_decay != 0.0, group.weight_decay};
}

void Stepper::update_plan() {
  const int threads = thread_limit();
  planned_threads_ = 0;  // not valid until it is whole
  extents_.clear();
  for (const Task& task : tasks_) {
    const Tensor& tensor = tensors_[task.tensor];
    const std::size_t item = item_size(tensor.dtype);
    const std::size_t states = rule().states[groups_[tensor.group].variant].used();
    extents_.push_back({{tensor.param, tensor.size * item}, item, 2 + states});
  }
  plan_.build(extents_, threads);
  planned_threads_ = threads;
}

void Stepper::run_part(void* self, int part) {
  const Stepper& stepper = *static_cast<const Stepper*>(self);
  for (const Piece* p = stepper.plan_.begin(part); p != stepper.plan_.end(part); ++p) {
    const Task& task = stepper.tasks_[p->tensor];
    const Cohort& cohort = stepper.cohorts_[task.cohort];
    cohort.kernel(&cohort.functor, task.view, cohort.gradient, p->begin, p->end);
  }
}

void Stepper::run() noexcept {
  parallel_run(plan_.threads(), run_part, this);
  for (const Task& task : tasks_) ++steps_[task.tensor];
  ++step_count_;
}

}  // namespace fusedstep
