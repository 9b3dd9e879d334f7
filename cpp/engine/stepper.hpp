// The engine of an optimizer on the CPU: counters, and how one step runs over the roster.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "batch.hpp"
#include "roster.hpp"

namespace fusedstep {

class Stepper : public Roster {
 public:
  explicit Stepper(std::size_t rule) : Roster(rule) {}

  std::int64_t step_count() const { return step_count_; }
  const std::vector<std::int64_t>& steps() const { return steps_; }        // of each tensor, so far
  int threads() const { return next_ == nullptr ? 1 : next_->threads(); }  // of the latest step

  // Room for more groups and tensors: add() does not fail then.
  void reserve(std::size_t groups, std::size_t tensors);
  void add(Tensor tensor);
  void set_counters(std::int64_t step_count, const std::vector<std::int64_t>& steps);
  // Steps may have another library's threads (team.hpp): its backward pass comes before them.
  void allow_team() { team_ = true; }
  // A frozen tensor's gradients are as good as none.
  void freeze(std::size_t tensor, bool frozen);

  // All that can fail, before the first write: throws std::overflow_error where a counter is at
  // its end. Allocates only where other tensors take part than in the step before.
  void prepare(const GradientSets& gradients);
  void prepare(const RowGradients& gradients);

  // The sweep and the counters, or neither. Needs no GIL.
  Outcome run() noexcept;

 private:
  bool is_arranged(const GradientSets& gradients) const;
  void arrange(const GradientSets& gradients);
  Cohort cohort_from(std::size_t tensor) const;
  std::size_t cohort_of(std::size_t tensor);
  Task task_of(std::size_t tensor) const;
  void refresh(Cohort& cohort, const GradientSets& gradients) const;
  void ready(Batch& batch, std::size_t slots);
  Outcome sweep() noexcept;
  void clip(double norm) noexcept;

  std::vector<std::int64_t> steps_;
  std::int64_t step_count_ = 0;

  // What outlives the step, because the next one is mostly like it: who takes part, and the plan.
  Batch dense_, rows_;
  const void* const* arranged_sets_ = nullptr;  // null: to be arranged anew
  std::size_t arranged_set_count_ = 0;
  std::vector<bool> takes_part_;
  std::vector<double> ones_;

  Batch* next_ = nullptr;  // what run() is to run
  bool measures_ = false;
  bool team_ = false;
};

}  // namespace fusedstep
