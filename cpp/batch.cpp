#include "batch.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "parallel.hpp"
#include "reduce.hpp"

namespace fusedstep {

void Batch::clear() {
  tasks.clear();
  cohorts.clear();
  first_block_.clear();
  planned_threads_ = 0;
}

void Batch::deal(int threads) {
  planned_threads_ = 0;  // not valid until it is whole
  extents_.clear();
  for (const Task& task : tasks)
    extents_.push_back({{task.view.param, task.size * task.item_size},
                        task.item_size * task.view.row_size,
                        task.streams});
  plan_.build(extents_, threads);
  first_block_.clear();
  planned_threads_ = threads;
}

void Batch::reserve_norms(std::size_t slots) {
  slots_.resize(slots);
  if (!first_block_.empty()) return;
  std::vector<std::size_t> first{0};
  std::size_t bytes = 0;
  for (const Task& task : tasks) {
    first.push_back(first.back() + reduce_blocks(task.size));
    bytes += task.size * task.item_size * cohorts[task.cohort].gradient.set_count;
  }
  sums_.resize(first.back());
  others_.resize(first.back());
  finite_.resize(first.back());
  task_sums_.resize(tasks.size());
  measure_threads_ = static_cast<int>(useful_threads(bytes, std::size_t(planned_threads_)));
  first_block_ = std::move(first);  // valid only now that all is there
}

bool Batch::measure() noexcept {
  parallel_run(measure_threads_, measure_part, this);
  for (std::size_t i = 0; i < tasks.size(); ++i)
    task_sums_[i] = tree_sum(sums_.data() + first_block_[i], first_block_[i + 1] - first_block_[i]);
  return std::find(finite_.begin(), finite_.end(), 0) == finite_.end();
}

// Calls visit(task, cohort, from, to, offset) for the stretch of blocks that is `part`'s: blocks
// [from, to) of the task, which are [offset + from, offset + to) of all.
template <class Visit>
void Batch::visit_blocks(int part, Visit visit) {
  const auto parts = static_cast<std::size_t>(measure_threads_);
  const std::vector<std::size_t>& first = first_block_;
  const std::size_t blocks = first.back();
  const auto cut = [&](std::size_t k) { return blocks / parts * k + blocks % parts * k / parts; };
  const std::size_t begin = cut(std::size_t(part)), end = cut(std::size_t(part) + 1);
  // The task that `begin` lies in: the last one that starts at it or before it.
  const auto at = std::upper_bound(first.begin(), first.end(), begin) - first.begin() - 1;
  for (auto i = static_cast<std::size_t>(at); i < tasks.size() && first[i] < end; ++i) {
    const std::size_t from = std::max(begin, first[i]), to = std::min(end, first[i + 1]);
    if (from < to)
      visit(tasks[i], cohorts[tasks[i].cohort], from - first[i], to - first[i], first[i]);
  }
}

void Batch::measure_part(void* self, int part) {
  Batch& batch = *static_cast<Batch*>(self);
  batch.visit_blocks(part, [&](const Task& task, const Cohort& cohort, std::size_t from,
                               std::size_t to, std::size_t offset) {
    cohort.measure(task.view, cohort.gradient, task.size, from, to, batch.sums_.data() + offset,
                   batch.finite_.data() + offset);
  });
}

void Batch::probe_part(void* self, int part) {
  Batch& batch = *static_cast<Batch*>(self);
  batch.visit_blocks(part, [&](const Task& task, const Cohort& cohort, std::size_t from,
                               std::size_t to, std::size_t offset) {
    cohort.probe(&cohort.functor, task.view, cohort.gradient, task.size, from, to,
                 batch.sums_.data() + offset, batch.others_.data() + offset);
  });
}

void Batch::probe() noexcept {
  parallel_run(measure_threads_, probe_part, this);
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const std::size_t first = first_block_[i], blocks = first_block_[i + 1] - first;
    tasks[i].view.param_norm = std::sqrt(tree_sum(sums_.data() + first, blocks));
    tasks[i].view.direction_norm = std::sqrt(tree_sum(others_.data() + first, blocks));
  }
}

double Batch::norm(std::size_t group) noexcept {
  std::fill(slots_.begin(), slots_.end(), 0.0);
  for (std::size_t i = 0; i < tasks.size(); ++i)
    if (group == kAllGroups || cohorts[tasks[i].cohort].group == group)
      slots_[tasks[i].slot] = task_sums_[i];
  return std::sqrt(tree_sum(slots_.data(), slots_.size()));
}

std::size_t Batch::first_nonfinite() const noexcept {
  for (std::size_t i = 0; i < tasks.size(); ++i)
    for (std::size_t block = first_block_[i]; block < first_block_[i + 1]; ++block)
      if (finite_[block] == 0) return i;
  return tasks.size();
}

void Batch::run(double ema_decay) noexcept {
  ema_decay_ = ema_decay;
  parallel_run(plan_.threads(), run_part, this);
}

void Batch::run_part(void* self, int part) {
  const Batch& batch = *static_cast<const Batch*>(self);
  for (const Piece* p = batch.plan_.begin(part); p != batch.plan_.end(part); ++p) {
    const Task& task = batch.tasks[p->tensor];
    const Cohort& cohort = batch.cohorts[task.cohort];
    cohort.kernel(&cohort.functor, task.view, cohort.gradient, batch.ema_decay_, p->begin, p->end);
  }
}

}  // namespace fusedstep
