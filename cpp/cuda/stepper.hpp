// The engine of an optimizer on a CUDA device: what the tables there hold, and the launches of a
// step. Counters, hyper-parameters and results live on the device, so that no step waits for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/arrangement.hpp"
#include "launch.hpp"
#include "runtime.hpp"
#include "tables.hpp"

namespace fusedstep::cuda {

// Who takes part in a step, on the device. A step that is captured keeps its own for good.
struct Tables {
  Buffer plan, call, sums;
  Sweep sweep = {};               // what of it does not change from one step to the next
  Chunks sum_chunks = {};         // of the sweeps that sum
  std::vector<std::byte> called;  // what `call` holds
};

class Stepper : public Roster {
 public:
  explicit Stepper(const RuleInfo& rule) : Roster(rule), launches_(launches_of(rule)) {}

  // Where the next call runs. All tensors live on `device`.
  void use(int device, Stream stream);
  // Where on the device the next step reports its result: written where it measures, and not
  // otherwise.
  void report_to(bool* applied, double* grad_norm);

  // Room for more groups and tensors: only the first add() after it can fail then.
  void reserve(std::size_t groups, std::size_t tensors) {
    Roster::reserve(groups, tensors);
    steps_.reserve(steps_.size() + tensors);
  }
  // Throws std::invalid_argument once a step was captured: its graph knows the tables of then.
  void add(Tensor tensor);
  // Whether the counters can be read without waiting: no skip_nonfinite, and no captured step.
  bool knows_counters() const;
  // These wait for the device, unless the host knows.
  std::int64_t step_count();
  const std::vector<std::int64_t>& steps();  // of each tensor, so far
  void set_counters(std::int64_t step_count, const std::vector<std::int64_t>& steps);
  void freeze(std::size_t tensor, bool frozen);
  // To be called when groups() have changed: a captured step sees it at its next replay.
  void publish_groups();

  // All that can fail before the first write, as for the engine of the CPU.
  void prepare(const GradientSets& gradients);
  void prepare(const RowGradients& gradients);

  // Launches the sweeps; waits for them only where error_if_nonfinite, and says so then.
  StepResult run();

 private:
  // A kind of step, with what outlives it, because the next one is mostly like it.
  struct Kind {
    Arrangement arrangement;
    Tables tables;
  };

  std::vector<Task> tasks_of(const Arrangement& arrangement) const;
  void lay_out(Kind& kind, const std::vector<std::uint32_t>& counters);
  void call(Tables& tables, const Array* sets, std::size_t count, const double* weights,
            std::size_t weight_count);
  void ready(Kind& kind, const Scale& scale);
  void count_step();
  void keep_for_graph();
  void push_groups();
  void push_counters();
  void pull_counters();

  int device_ = 0;
  Stream stream_ = nullptr;
  bool* applied_ = nullptr;
  double* grad_norm_ = nullptr;

  // The counters live on the device from the first step on. Here is what they were last known to
  // be, and every step since as if it had been applied.
  std::vector<std::int64_t> steps_;
  std::int64_t step_count_ = 0;
  bool counters_are_there_ = false;
  bool groups_are_there_ = false;
  Buffer groups_buffer_, progress_, steps_buffer_, clips_;

  const RuleLaunches& launches_;
  Kind dense_, rows_;
  std::vector<Tables> captured_;
  Kind* next_ = nullptr;
};

}  // namespace fusedstep::cuda
