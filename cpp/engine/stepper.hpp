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
  explicit Stepper(const RuleInfo& rule) : Roster(rule) {}

  std::int64_t step_count() const { return step_count_; }
  const std::vector<std::int64_t>& steps() const { return steps_; }  // of each tensor, so far
  int threads() const {
    return next_ == nullptr ? 1 : next_->batch.threads();
  }  // of the latest step

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
  StepResult run() noexcept;

 private:
  // A kind of step, with what outlives it, because the next one is mostly like it.
  struct Kind {
    Arrangement arrangement;
    Batch batch;
  };

  void arrange(const GradientSets& gradients);
  void add_task(Batch& batch, const Participant& who, std::size_t cohort) const;
  std::size_t bytes_per_element(const Tensor& tensor) const;
  void refresh(Cohort& cohort, const GradientSets& gradients) const;
  void ready(Kind& kind);
  StepResult sweep() noexcept;
  void clip(double norm) noexcept;

  std::vector<std::int64_t> steps_;
  std::int64_t step_count_ = 0;

  Kind dense_, rows_;
  std::vector<double> ones_;
  Kind* next_ = nullptr;  // what run() is to run
  bool measures_ = false;
  bool team_ = false;
};

}  // namespace fusedstep
