// The CPU engine: step counters, and the execution of a step over the roster.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "batch.hpp"
#include "roster.hpp"

namespace fusedstep {

class Stepper : public Roster {
 public:
  explicit Stepper(const RuleInfo& rule) : Roster(rule) {}

  std::int64_t step_count() const { return step_count_; }
  const std::vector<std::int64_t>& steps() const { return steps_; }        // per tensor, so far
  int threads() const { return next_ == nullptr ? 1 : next_->threads(); }  // of the latest step

  // Reserves space, so that add() cannot fail.
  void reserve(std::size_t groups, std::size_t tensors);
  void add(Tensor tensor);
  void set_counters(std::int64_t step_count, const std::vector<std::int64_t>& steps);
  // Allows another library's threads (team.hpp): its backward pass runs before each step.
  void allow_team() { team_ = true; }
  // Gradients of a frozen tensor are ignored.
  void freeze(std::size_t tensor, bool frozen);

  // Everything that can fail, before the first write: throws std::overflow_error if a counter is at
  // its maximum. Allocates only if the participants have changed since the last step.
  void prepare(const GradientSets& gradients);
  void prepare(const JointGradients& gradients);

  // Runs the sweep and advances the counters, or neither. Needs no GIL.
  StepResult run() noexcept;

 private:
  // Rows of a tensor: what a task points into.
  struct Table {
    NamedRows named = {};
    Participant all = {};
    std::vector<Array> sets;
    std::vector<double> ones;
  };

  void arrange(const GradientSets& gradients);
  void add_tasks(Batch& batch, const std::vector<Participant>& participants) const;
  void add_rows(Table& table, const RowGradients& gradients, std::size_t slot, const Scale& scale);
  void add_task(Batch& batch, const Participant& participant, std::size_t cohort) const;
  std::size_t bytes_per_element(const Tensor& tensor) const;
  void refresh(Cohort& cohort, const GradientSets& gradients) const;
  void ready(Batch& batch, std::size_t slots);
  StepResult sweep() noexcept;
  void clip(double norm) noexcept;

  std::vector<std::int64_t> steps_;
  std::atomic<std::int64_t> step_count_{0};  // other threads read it at any time

  // What the two kinds of step keep for the next one, which is usually similar.
  Arrangement arrangement_;  // of dense_
  Arrangement beside_;       // of the whole tensors of rows_
  Batch dense_, rows_;
  std::vector<Table> tables_;  // of rows_
  Batch* next_ = nullptr;      // the one run() executes

  std::vector<std::pair<void*, std::size_t>> idle_;  // of the next step
  bool advances_ = true;                             // step_count_
  bool measures_ = false;
  bool team_ = false;
};

}  // namespace fusedstep
