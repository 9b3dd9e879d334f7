#include "batch.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "numeric/reduce.hpp"
#include "threads/parallel.hpp"

namespace fusedstep {

void Batch::clear() {
  tasks.clear();
  cohorts.clear();
  first_block_.clear();
  arranged_ = false;
  pace_ = nullptr;
}

void Batch::arrange() {
  arranged_ = false;  // until it is complete
  extents_.clear();
  for (const Task& task : tasks)
    extents_.push_back({task.extent(), task.item_bytes() * task.indivisible(), task.bytes});
  plan_.build(extents_);
  first_block_.clear();
  arranged_ = true;
}

void Batch::set_threads(int limit, bool team, const RuleInfo& rule) {
  if (limit == limit_ && team == team_ && (pace_ != nullptr || limit == 1)) return;
  pace_ = limit == 1 ? nullptr : &pace_of(&rule, bytes(), limit, team);
  limit_ = limit;
  team_ = team;
}

// A team is used whole or not at all.
Threads Batch::threads_for(std::size_t bytes) const {
  const int useful = useful_threads(bytes, threads_.count);
  return {useful, threads_.team && useful == threads_.count};
}

void Batch::start() noexcept {
  threads_ = {};
  if (pace_ == nullptr) return;
  threads_ = pace_->threads();
  start_ = std::chrono::steady_clock::now();
}

void Batch::end() noexcept {
  if (pace_ == nullptr) return;
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start_;
  pace_->record(threads_, bytes(), time.count());
}

void Batch::reserve_norms(std::size_t slots) {
  slots_.resize(slots);
  if (!first_block_.empty()) return;
  std::vector<std::size_t> first{0};
  std::size_t own_slots = 0;
  gradient_bytes_ = 0;
  for (const Task& task : tasks) {
    first.push_back(first.back() + task.slots() * task.blocks_per_slot());
    own_slots += task.slots();
    gradient_bytes_ +=
        task.participant->size * task.item_bytes() * cohorts[task.cohort].gradient.set_count;
  }
  sums_.resize(first.back());
  others_.resize(first.back());
  finite_.resize(first.back());
  slot_sums_.resize(own_slots);
  norms_.resize(tasks.size());
  first_block_ = std::move(first);  // valid once all is allocated
}

void Batch::sweep_blocks(void (*body)(void* self, std::size_t first, std::size_t last)) noexcept {
  parallel_run(threads_for(gradient_bytes_),
               {first_block_.back(), gradient_bytes_, body, this, /*more=*/true});
}

bool Batch::measure() noexcept {
  sweep_blocks(measure_blocks);
  double *numbers = sums_.data(), *sum = slot_sums_.data();
  for (const Task& task : tasks)
    for (std::size_t slot = 0, blocks = task.blocks_per_slot(); slot < task.slots(); ++slot)
      *sum++ = tree_sum(std::exchange(numbers, numbers + blocks), blocks);
  return std::find(finite_.begin(), finite_.end(), 0) == finite_.end();
}

// Calls visit(task, cohort, from, to, offset) for each task's share of the blocks [first, last):
// blocks [from, to) of the task, [offset + from, offset + to) overall.
template <class Visit>
void Batch::visit_blocks(std::size_t first, std::size_t last, Visit visit) {
  visit_stretches(first_block_, first, last, [&](std::size_t i, std::size_t from, std::size_t to) {
    visit(tasks[i], cohorts[tasks[i].cohort], from, to, first_block_[i]);
  });
}

void Batch::measure_blocks(void* self, std::size_t first, std::size_t last) {
  Batch& batch = *static_cast<Batch*>(self);
  batch.visit_blocks(first, last,
                     [&](const Task& task, const Cohort& cohort, std::size_t from, std::size_t to,
                         std::size_t offset) {
                       double* const sums = batch.sums_.data() + offset;
                       unsigned char* const finite = batch.finite_.data() + offset;
                       if (task.rows != nullptr)
                         cohort.driver->measure_rows(*task.tensor, *task.rows, cohort.gradient,
                                                     from, to, sums, finite);
                       else
                         cohort.driver->measure(batch.part_of(task), cohort.gradient,
                                                task.participant->size, from, to, sums, finite);
                     });
}

void Batch::probe_blocks(void* self, std::size_t first, std::size_t last) {
  Batch& batch = *static_cast<Batch*>(self);
  batch.visit_blocks(first, last,
                     [&](const Task& task, const Cohort& cohort, std::size_t from, std::size_t to,
                         std::size_t offset) {
                       cohort.driver->probe(*cohort.sweeps, &cohort.functor, batch.part_of(task),
                                            cohort.gradient, task.participant->size, from, to,
                                            batch.sums_.data() + offset,
                                            batch.others_.data() + offset);
                     });
}

void Batch::probe() noexcept {
  sweep_blocks(probe_blocks);
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const std::size_t first = first_block_[i], blocks = first_block_[i + 1] - first;
    norms_[i].param = std::sqrt(tree_sum(sums_.data() + first, blocks));
    norms_[i].direction = std::sqrt(tree_sum(others_.data() + first, blocks));
  }
}

double Batch::norm(std::size_t group) noexcept {
  std::fill(slots_.begin(), slots_.end(), 0.0);
  const double* sum = slot_sums_.data();
  for (const Task& task : tasks) {
    const double* const own = std::exchange(sum, sum + task.slots());
    if (group == kAllGroups || cohorts[task.cohort].group == group)
      std::copy_n(own, task.slots(), slots_.data() + task.participant->slot);
  }
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
  for (Cohort& cohort : cohorts) {
    cohort.is_plain = cohort.gradient.is_plain() && !cohort.gradient.zero && !cohort.is_mixed;
    cohort.is_quick = cohort.is_plain && cohort.fit == nullptr;
  }
  parallel_run(threads_for(plan_.bytes()),
               {plan_.lines(), plan_.bytes(), run_lines, this, /*more=*/false});
}

void Batch::run_lines(void* self, std::size_t first, std::size_t last) {
  const Batch& batch = *static_cast<const Batch*>(self);
  batch.plan_.visit(first, last, [&](std::size_t i, std::size_t from, std::size_t to) {
    const Task& task = batch.tasks[i];
    const Cohort& cohort = batch.cohorts[task.cohort];
    const auto update_bare = [&](const FunctorBytes& functor) {
      cohort.driver->update_bare(*cohort.sweeps, &functor, batch.part_of(task), cohort.gradient,
                                 from, to);
    };
    if (cohort.is_quick && task.is_bare) return update_bare(cohort.functor);
    FunctorBytes functor = cohort.functor;
    if (cohort.fit != nullptr)
      cohort.fit(&functor, batch.norms_[i].param, batch.norms_[i].direction);
    if (cohort.is_plain && task.is_bare) return update_bare(functor);
    const std::size_t block = task.tensor->block, begin = from * block;
    const std::size_t end = block == 1 ? to : std::min(to * block, task.participant->size);
    if (task.rows != nullptr)
      return cohort.driver->update_rows(*cohort.sweeps, &functor, *task.tensor, *task.rows,
                                        cohort.gradient, batch.ema_decay_, begin, end);
    cohort.driver->update(*cohort.sweeps, &functor, batch.part_of(task), cohort.gradient,
                          batch.ema_decay_, begin, end);
  });
}

}  // namespace fusedstep
