#include "stepper.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "dispatch.hpp"
#include "kernel/adjustment.hpp"
#include "numeric/float_environment.hpp"
#include "plan.hpp"
#include "threads/parallel.hpp"
#include "threads/team.hpp"

namespace fusedstep {
namespace {

constexpr std::size_t kCacheLine = 64;

}  // namespace

void Stepper::reserve(std::size_t groups, std::size_t tensors) {
  Roster::reserve(groups, tensors);
  reserve_more(steps_, tensors);
}

void Stepper::add(Tensor tensor) {
  enlist(std::move(tensor));
  steps_.push_back(0);
  arrangement_.invalidate();
}

void Stepper::set_counters(std::int64_t step_count, const std::vector<std::int64_t>& steps) {
  steps_ = steps;
  step_count_ = step_count;
  arrangement_.invalidate();
}

void Stepper::freeze(std::size_t tensor, bool frozen) {
  frozen_.at(tensor) = frozen;
  arrangement_.invalidate();
}

void Stepper::prepare(const GradientSets& gradients) {
  const FloatEnvironment ours;
  arrange(gradients);
  for (Cohort& cohort : dense_.cohorts) refresh(cohort, gradients);
  idle_ = idle(gradients);
  advances_ = true;
  ready(dense_, arrangement_.slots());
}

void Stepper::arrange(const GradientSets& gradients) {
  if (!arrangement_.arrange(*this, gradients)) return;
  dense_.clear();
  add_tasks(dense_, arrangement_.participants());
}

// Neighbours are usually alike, so each tensor is compared only with the previous one.
void Stepper::add_tasks(Batch& batch, const std::vector<Participant>& participants) const {
  const auto alike = [&](std::size_t a, std::size_t b) {
    return tensors_[a].group == tensors_[b].group && tensors_[a].format() == tensors_[b].format() &&
           steps_[a] == steps_[b];
  };
  for (const Participant& participant : participants) {
    if (batch.cohorts.empty() || !alike(batch.cohorts.back().tensor, participant.tensor))
      batch.cohorts.push_back({tensors_[participant.tensor].group, participant.tensor});
    add_task(batch, participant, batch.cohorts.size() - 1);
  }
}

void Stepper::prepare(const JointGradients& gradients) {
  const FloatEnvironment ours;
  rows_.clear();
  beside_.invalidate();
  std::size_t slots = 0;
  if (gradients.sets != nullptr) {
    const GradientSets whole{gradients.sets,  1,     nullptr,        1.0,
                             gradients.scale, false, gradients.mixed};
    beside_.arrange(*this, whole);
    add_tasks(rows_, beside_.participants());
    for (Cohort& cohort : rows_.cohorts) refresh(cohort, whole);
    slots = beside_.slots();
  }
  tables_.assign(gradients.tables.size(), {});
  for (std::size_t i = 0; i < tables_.size(); ++i) {
    add_rows(tables_[i], gradients.tables[i], slots, gradients.scale);
    slots += gradients.tables[i].rows.size();
  }
  idle_.clear();
  advances_ = gradients.advances;
  ready(rows_, slots);
}

// One task, whose slots are the rows.
void Stepper::add_rows(Table& table, const RowGradients& gradients, std::size_t slot,
                       const Scale& scale) {
  const Tensor& tensor = tensors_[gradients.tensor];
  const std::size_t size = gradients.row_size, count = gradients.rows.size();
  const bool in_order = gradients.is_in_order();
  const bool is_short = tensor.view.is_native && is_native(gradients.values.format) &&
                        bytes_of(tensor.format(), size) <= kShortRow;
  const bool as_sets = !is_short && !in_order;
  if (as_sets) table.sets = gradients.sets();
  table.ones.assign(table.sets.size(), 1.0);
  table.named = {size,
                 count,
                 gradients.rows.data(),
                 in_order ? nullptr : gradients.first.data(),
                 in_order ? nullptr : gradients.gradients.data(),
                 gradients.values,
                 table.sets.data(),
                 table.ones.data(),
                 is_short};
  table.all = {gradients.tensor, 0, count * size, 0, 1, slot};
  rows_.cohorts.push_back({tensor.group, gradients.tensor});
  add_task(rows_, table.all, rows_.cohorts.size() - 1);
  Task& task = rows_.tasks.back();
  task.rows = &table.named;
  task.is_bare = false;
  // Memory is read and written line by line.
  const std::size_t lines = (bytes_of(tensor.format(), size) + kCacheLine - 1) / kCacheLine;
  task.bytes =
      count * lines * (kCacheLine / bytes_of(tensor.format(), 1)) * bytes_per_element(tensor);
  refresh(rows_.cohorts.back(), {&table.named.values, 1, nullptr, 1.0, scale});
}

void Stepper::add_task(Batch& batch, const Participant& participant, std::size_t cohort) const {
  const Tensor& tensor = tensors_[participant.tensor];
  const bool is_bare = !tensor.view.average && !tensor.view.copy && tensor.view.is_native;
  batch.tasks.push_back(
      {&tensor.view, &participant, cohort, participant.size * bytes_per_element(tensor), is_bare});
}

// Bytes that a step reads and writes; the gradient has the parameter's format.
std::size_t Stepper::bytes_per_element(const Tensor& tensor) const {
  const TensorView& view = tensor.view;
  std::size_t bytes = 2 * bytes_of(view.param.format, 1);
  if (!rule().rowwise)
    for (const Array& state : view.state) bytes += state ? bytes_of(state.format, 1) : 0;
  if (view.average) bytes += bytes_of(view.average.format, 1);
  if (view.copy) bytes += bytes_of(view.copy.format, 1);
  if (view.correction) bytes += bytes_of(view.correction.format, 1);
  return bytes;
}

void Stepper::refresh(Cohort& cohort, const GradientSets& gradients) const {
  const Tensor& tensor = tensors_[cohort.tensor];
  const Group& group = groups_[tensor.group];
  const std::int64_t step = steps_[cohort.tensor];
  check_counter(cohort.tensor, step);
  const auto compute = static_cast<std::size_t>(tensor.compute());
  const std::size_t isa = current_isa();
  cohort.driver = &available_tables()[isa]->driver[compute];
  cohort.sweeps = &rule().sweeps[isa]->of[group.variant][compute];
  cohort.fit = rule().fit[group.variant][compute];
  rule().prepare[group.variant][compute](group.scalars.data(), step + 1, &cohort.functor);
  cohort.gradient.draw = {policy_.seed, static_cast<std::uint64_t>(step) + 1, 0};
  cohort.sets = gradients.sets;
  cohort.is_mixed = gradients.mixed;
  cohort.gradient.set_count = gradients.set_count;
  cohort.gradient.weights = gradients.weights;
  cohort.gradient.divisor = gradients.divisor;
  cohort.gradient.scale = gradients.scale.value;
  cohort.gradient.factor = exact_reciprocal(gradients.scale.value, tensor.compute());
  cohort.gradient.clip = 1.0;
  cohort.gradient.max_value = group.max_value;
  cohort.gradient.negate = group.maximize;
  cohort.gradient.weight_decay = group.weight_decay;
  cohort.gradient.zero = gradients.zero;
}

void Stepper::ready(Batch& batch, std::size_t slots) {
  check_step_count(step_count_);
  if (!batch.is_arranged()) batch.arrange();
  const int limit = useful_threads(batch.bytes(), thread_limit());
  batch.set_threads(limit, team_ && has_team(limit), rule());
  measures_ = measures();
  if (measures_ || rule().layerwise) batch.reserve_norms(slots);
  next_ = &batch;
}

void Stepper::clip(double norm) noexcept {
  Batch& batch = *next_;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    if (!groups_[g].max_norm) continue;
    const double own = policy_.clip_per_group ? batch.norm(g) : norm;
    const double factor = clip_factor(*groups_[g].max_norm, own);
    for (Cohort& cohort : batch.cohorts)
      if (cohort.group == g) cohort.gradient.clip = factor;
  }
}

StepResult Stepper::run() noexcept {
  const FloatEnvironment ours;
  Batch& batch = *next_;
  // The first step is not timed: it starts threads and faults in pages.
  const bool is_first = batch.cohorts.empty() || steps_[batch.cohorts[0].tensor] == 0;
  batch.start();
  const StepResult result = sweep();
  if (result.applied && !is_first) batch.end();
  return result;
}

StepResult Stepper::sweep() noexcept {
  Batch& batch = *next_;
  StepResult result;
  if (measures_) {
    const bool finite = batch.measure();
    result.grad_norm = batch.norm();
    if (!finite && (policy_.skip_nonfinite || policy_.error_if_nonfinite)) {
      result.applied = false;
      result.nonfinite = batch.tasks[batch.first_nonfinite()].participant->tensor;
      return result;
    }
    clip(*result.grad_norm);
  }
  if (rule().layerwise) batch.probe();
  batch.run(policy_.ema_decay);
  for (const Task& task : batch.tasks) ++steps_[task.participant->tensor];
  for (const auto& [gradient, bytes] : idle_) std::memset(gradient, 0, bytes);
  if (advances_) ++step_count_;
  if (next_ != &dense_) arrangement_.invalidate();  // its tensors' step counts have changed
  return result;
}

}  // namespace fusedstep
