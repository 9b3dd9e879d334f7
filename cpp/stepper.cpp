#include "stepper.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>

#include "dispatch.hpp"
#include "parallel.hpp"

namespace fusedstep {

void Stepper::add(Tensor tensor) {
  tensors_.push_back(std::move(tensor));
  planned_ = {};
}

void Stepper::set_counters(std::int64_t step_count, const std::vector<std::int64_t>& steps) {
  for (std::size_t i = 0; i < tensors_.size(); ++i) tensors_[i].step = steps[i];
  step_count_ = step_count;
}

void Stepper::prepare(const GradientSets& gradients) {
  const KernelTable& table = current_table();
  tasks_.clear();
  functors_.clear();
  const Tensor* previous = nullptr;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const void* const* const sets = gradients.sets + i * gradients.set_count;
    if (sets[0] == nullptr) continue;
    const Tensor& tensor = tensors_[i];
    const Group& group = groups_[tensor.group];
    if (tensor.step == std::numeric_limits<std::int64_t>::max())
      throw std::overflow_error("parameter '" + tensor.name +
                                "': the step counter is at its end, 2**63 - 1");
    const auto dtype = static_cast<std::size_t>(tensor.dtype);
    // Tensors of one group and age share a functor: its powers are computed once a step.
    if (previous == nullptr || previous->group != tensor.group || previous->step != tensor.step ||
        previous->dtype != tensor.dtype) {
      rule().prepare[group.variant][dtype](group.scalars.data(), tensor.step + 1,
                                           &functors_.emplace_back());
      previous = &tensor;
    }
    const Gradient gradient{
        sets,           gradients.weights,         gradients.set_count, gradients.divisor,
        group.maximize, group.weight_decay != 0.0, group.weight_decay};
    tasks_.push_back({table.kernel[rule_][group.variant][dtype], functors_.size() - 1,
                      TensorView{tensor.param, tensor.state, gradient}, i});
  }
  if (step_count_ == std::numeric_limits<std::int64_t>::max())
    throw std::overflow_error("step_count is at its end, 2**63 - 1");
  update_plan();
}

// The plan outlives the step: it is cut anew only where other tensors take part or the number of
// threads has changed.
void Stepper::update_plan() {
  const int threads = thread_limit();
  const bool same =
      planned_.threads == threads &&
      std::equal(tasks_.begin(), tasks_.end(), planned_.tensors.begin(), planned_.tensors.end(),
                 [](const Task& task, std::size_t i) { return task.tensor == i; });
  if (same) return;
  planned_.threads = 0;  // not valid until it is whole
  planned_.tensors.clear();
  extents_.clear();
  for (const Task& task : tasks_) {
    const Tensor& tensor = tensors_[task.tensor];
    const std::size_t item = item_size(tensor.dtype);
    planned_.tensors.push_back(task.tensor);
    const std::size_t states = rule().states[groups_[tensor.group].variant].used();
    extents_.push_back({{tensor.param, tensor.size * item}, item, 2 + states});
  }
  plan_.build(extents_, threads);
  planned_.threads = threads;
}

void Stepper::run_part(void* self, int part) {
  const Stepper& stepper = *static_cast<const Stepper*>(self);
  for (const Piece* p = stepper.plan_.begin(part); p != stepper.plan_.end(part); ++p) {
    const Task& task = stepper.tasks_[p->tensor];
    task.kernel(&stepper.functors_[task.functor], task.view, p->begin, p->end);
  }
}

void Stepper::run() noexcept {
  parallel_run(plan_.threads(), run_part, this);
  for (const Task& task : tasks_) ++tensors_[task.tensor].step;
  ++step_count_;
}

}  // namespace fusedstep
