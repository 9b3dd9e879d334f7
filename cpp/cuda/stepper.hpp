// The engine of an optimizer on a CUDA device: what the tables there hold, and the launches of a
// step. Counters, hyper-parameters and outcomes live on the device, so that no step waits for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/roster.hpp"
#include "runtime.hpp"
#include "tables.hpp"

namespace fusedstep::cuda {

// Who takes part in a step, on the device. A step that is captured keeps its own for good.
struct Tables {
  Buffer plan, call, sums;
  Sweep sweep = {};               // what of it does not change from one step to the next
  Chunks sum_chunks = {};         // of the sweeps that sum
  std::vector<std::byte> called;  // what `call` holds
  bool valid = false;
};

class Stepper : public Roster {
 public:
  explicit Stepper(std::size_t rule) : Roster(rule) {}

  // Where the next call runs. All tensors live on `device`.
  void use(int device, Stream stream);
  // Where on the device the next step tells what became of it: written where it measures, and not
  // otherwise.
  void tell(bool* applied, double* grad_norm);

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
  Outcome run();

 private:
  void arrange(const GradientSets& gradients);
  bool is_arranged(const GradientSets& gradients) const;
  Task task_of(std::size_t tensor) const;
  void lay_out(Tables& tables, std::vector<Task> tasks, std::size_t slots,
               const std::vector<std::uint32_t>& counters);
  void call(Tables& tables, const void* const* sets, std::size_t count, const double* weights,
            std::size_t weight_count);
  void ready(Tables& tables, const Scale& scale);
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

  Tables dense_, rows_;
  std::vector<bool> takes_part_;
  std::size_t arranged_set_count_ = 0;
  std::vector<Tables> captured_;
  Tables* next_ = nullptr;
  std::size_t rows_tensor_ = 0;  // that rows_ are of
};

}  // namespace fusedstep::cuda
