#include "stepper.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "dispatch.hpp"
#include "kernel/adjustment.hpp"
#include "numeric/float_environment.hpp"
#include "plan.hpp"
#include "threads/parallel.hpp"
#include "threads/team.hpp"

namespace fusedstep {

void Stepper::reserve(std::size_t groups, std::size_t tensors) {
  Roster::reserve(groups, tensors);
  steps_.reserve(steps_.size() + tensors);
}

void Stepper::add(Tensor tensor) {
  enlist(std::move(tensor));
  steps_.push_back(0);
  arranged_sets_ = nullptr;
}

void Stepper::set_counters(std::int64_t step_count, const std::vector<std::int64_t>& steps) {
  steps_ = steps;
  step_count_ = step_count;
  arranged_sets_ = nullptr;
}

void Stepper::freeze(std::size_t tensor, bool frozen) {
  frozen_.at(tensor) = frozen;
  arranged_sets_ = nullptr;
}

void Stepper::prepare(const GradientSets& gradients) {
  const FloatEnvironment ours;
  if (!is_arranged(gradients)) arrange(gradients);
  for (Cohort& cohort : dense_.cohorts) refresh(cohort, gradients);
  ready(dense_, tensors_.size());
}

bool Stepper::is_arranged(const GradientSets& gradients) const {
  if (arranged_sets_ != gradients.sets || arranged_set_count_ != gradients.set_count) return false;
  for (std::size_t i = 0; i < tensors_.size(); ++i)
    if ((gradients.sets[i * gradients.set_count] != nullptr) != takes_part_[i]) return false;
  return true;
}

void Stepper::arrange(const GradientSets& gradients) {
  arranged_sets_ = nullptr;  // not valid until it is whole
  dense_.clear();
  takes_part_.assign(tensors_.size(), false);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const void* const* const sets = gradients.sets + i * gradients.set_count;
    takes_part_[i] = sets[0] != nullptr;
    if (sets[0] == nullptr || frozen_[i]) continue;
    Task task = task_of(i);
    task.view.sets = sets;
    task.cohort = cohort_of(i);
    dense_.tasks.push_back(task);
  }
  arranged_sets_ = gradients.sets;
  arranged_set_count_ = gradients.set_count;
}

Task Stepper::task_of(std::size_t i) const {
  const Tensor& tensor = tensors_[i];
  const States& states = rule().states[groups_[tensor.group].variant];
  Task task{};
  task.view = view_of(i);
  task.size = tensor.size;
  task.item_size = item_size(tensor.dtype);
  task.streams = 2 + (rule().rowwise ? 0 : states.used()) + (tensor.average != nullptr);
  task.slot = i;
  return task;
}

Cohort Stepper::cohort_from(std::size_t i) const {
  Cohort cohort{};
  cohort.group = tensors_[i].group;
  cohort.first = i;
  return cohort;
}

// Neighbours are alike, as a rule: only the newest cohort is looked at.
std::size_t Stepper::cohort_of(std::size_t i) {
  std::vector<Cohort>& cohorts = dense_.cohorts;
  const auto is_like = [&](std::size_t first) {
    return tensors_[first].group == tensors_[i].group &&
           tensors_[first].dtype == tensors_[i].dtype && steps_[first] == steps_[i];
  };
  if (cohorts.empty() || !is_like(cohorts.back().first)) cohorts.push_back(cohort_from(i));
  return cohorts.size() - 1;
}

void Stepper::refresh(Cohort& cohort, const GradientSets& gradients) const {
  const Tensor& tensor = tensors_[cohort.first];
  const Group& group = groups_[tensor.group];
  const std::int64_t step = steps_[cohort.first];
  check_counter(cohort.first, step);
  const auto dtype = static_cast<std::size_t>(tensor.dtype);
  const KernelTable& table = current_table();
  cohort.kernel = table.kernel[rule_][group.variant][dtype];
  cohort.measure = table.measure[dtype];
  cohort.probe = table.probe[rule_][group.variant][dtype];
  rule().prepare[group.variant][dtype](group.scalars.data(), step + 1, &cohort.functor);
  cohort.gradient.set_count = gradients.set_count;
  cohort.gradient.weights = gradients.weights;
  cohort.gradient.divisor = gradients.divisor;
  cohort.gradient.scale = gradients.scale.value;
  cohort.gradient.factor = exact_reciprocal(gradients.scale.value, tensor.dtype);
  cohort.gradient.clip = 1.0;
  cohort.gradient.max_value = group.max_value;
  cohort.gradient.negate = group.maximize;
  cohort.gradient.weight_decay = group.weight_decay;
  cohort.gradient.zero = gradients.zero;
}

// A row is a tensor of its own, but for the counters; rows with as many gradients are a cohort.
void Stepper::prepare(const RowGradients& gradients) {
  const FloatEnvironment ours;
  rows_.clear();
  const Task whole = task_of(gradients.tensor);
  std::vector<std::size_t> cohort_of_count;
  for (std::size_t i = 0; i < gradients.rows.size(); ++i) {
    const std::size_t count = gradients.first[i + 1] - gradients.first[i];
    if (cohort_of_count.size() <= count) cohort_of_count.resize(count + 1, 0);
    if (cohort_of_count[count] == 0) {
      rows_.cohorts.push_back(cohort_from(gradients.tensor));
      rows_.cohorts.back().gradient.set_count = count;
      cohort_of_count[count] = rows_.cohorts.size();
    }
    Task task = whole;
    task.view = row_of(whole.view, whole.item_size, gradients.rows[i], gradients.row_size);
    task.view.sets = gradients.sets.data() + gradients.first[i];
    task.size = gradients.row_size;
    task.cohort = cohort_of_count[count] - 1;
    task.slot = i;
    rows_.tasks.push_back(task);
  }
  ones_.assign(cohort_of_count.size(), 1.0);
  for (Cohort& cohort : rows_.cohorts) {
    const std::size_t count = cohort.gradient.set_count;
    refresh(cohort, {nullptr, count, count == 1 ? nullptr : ones_.data(), 1.0, gradients.scale});
  }
  ready(rows_, rows_.tasks.size());
}

void Stepper::ready(Batch& batch, std::size_t slots) {
  check_step_count(step_count_);
  if (!batch.is_arranged()) batch.arrange();
  const int limit = useful_threads(batch.bytes(), thread_limit());
  batch.set_threads(limit, team_ && has_team(limit), rule_);
  measures_ = measures();
  if (measures_ || rule().layerwise) batch.reserve_norms(slots);
  next_ = &batch;
}

void Stepper::clip(double norm) noexcept {
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    if (!groups_[g].max_norm) continue;
    const double own = policy_.clip_per_group ? next_->norm(g) : norm;
    const double factor = clip_factor(*groups_[g].max_norm, own);
    for (Cohort& cohort : next_->cohorts)
      if (cohort.group == g) cohort.gradient.clip = factor;
  }
}

Outcome Stepper::run() noexcept {
  const FloatEnvironment ours;
  // The time of a first step is not its own: threads start, and memory comes page by page.
  const bool is_first = next_->cohorts.empty() || steps_[next_->cohorts[0].first] == 0;
  next_->start();
  const Outcome outcome = sweep();
  if (outcome.applied && !is_first) next_->end();
  return outcome;
}

Outcome Stepper::sweep() noexcept {
  Outcome outcome;
  if (measures_) {
    const bool finite = next_->measure();
    outcome.grad_norm = next_->norm();
    if (!finite && (policy_.skip_nonfinite || policy_.error_if_nonfinite)) {
      outcome.applied = false;
      outcome.nonfinite =
          next_ == &dense_ ? dense_.tasks[dense_.first_nonfinite()].slot : rows_.cohorts[0].first;
      return outcome;
    }
    clip(*outcome.grad_norm);
  }
  if (rule().layerwise) next_->probe();
  next_->run(policy_.ema_decay);
  if (next_ == &dense_) {
    for (const Task& task : dense_.tasks) ++steps_[task.slot];
    ++step_count_;
  } else {
    ++steps_[rows_.cohorts[0].first];
    arranged_sets_ = nullptr;  // its cohort has another count now
  }
  return outcome;
}

}  // namespace fusedstep
