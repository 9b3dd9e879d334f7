// The CUDA engine: the tables on the device, and the launches of a step. Counters, hyper-parameters
// and results live on the device, so that no step synchronizes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/arrangement.hpp"
#include "launch.hpp"
#include "runtime.hpp"
#include "tables.hpp"

namespace fusedstep::cuda {

// The participants of a step, on the device. A captured step keeps its own tables forever.
struct Tables {
  Buffer plan, call, sums;
  Sweep sweep = {};               // the fields that stay the same between steps
  Chunks sum_chunks = {};         // for the summing sweeps
  bool has_narrow = false;        // some tensor is
  std::vector<std::byte> called;  // contents of `call`
};

class Stepper : public Roster {
 public:
  explicit Stepper(const RuleInfo& rule) : Roster(rule), launches_(launches_of(rule)) {}

  // Sets where the next call runs. All tensors are on `device`.
  void use(int device, Stream stream);
  // Device addresses for the result of the next step; written only if it measures.
  void report_to(bool* applied, double* grad_norm);

  // Reserves space: afterwards only the first add() can fail.
  void reserve(std::size_t groups, std::size_t tensors) {
    Roster::reserve(groups, tensors);
    reserve_more(steps_, tensors);
  }
  // Throws std::invalid_argument after a capture: the graph uses the tables of that time.
  void add(Tensor tensor);
  // Whether the counters can be read without synchronizing: no skip_nonfinite and no captured step.
  bool knows_counters() const;
  // These synchronize unless the host knows the counters.
  std::int64_t step_count();
  const std::vector<std::int64_t>& steps();  // per tensor, so far
  void set_counters(std::int64_t step_count, const std::vector<std::int64_t>& steps);
  void freeze(std::size_t tensor, bool frozen);
  // Call after changing groups(): captured steps see the change at their next replay.
  void publish_groups();

  // Everything that can fail before the first write, as in the CPU engine.
  void prepare(const GradientSets& gradients);
  void prepare(const JointGradients& gradients);

  // Launches the sweeps; synchronizes, and reports the result, only with error_if_nonfinite.
  StepResult run();

 private:
  // A kind of step, with what it keeps for the next one, which is usually similar.
  struct Kind {
    Arrangement arrangement;
    Tables tables;
    std::vector<std::uint32_t> counters;  // tensors that take part
  };

  std::vector<Task> tasks_of(const Arrangement& arrangement) const;
  void lay_out(Kind& kind);
  void check_counters(const Kind& kind) const;
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

  // The counters live on the device from the first step on. This is their last known value, plus
  // every step since, assuming it was applied.
  std::vector<std::int64_t> steps_;
  std::int64_t step_count_ = 0;
  bool counters_on_device_ = false;
  bool groups_on_device_ = false;
  Buffer groups_buffer_, progress_, steps_buffer_, clips_;

  const RuleKinds& launches_;
  Kind dense_, rows_;
  std::vector<std::pair<void*, std::size_t>> idle_;  // of the next step
  std::vector<Tables> captured_;
  Kind* next_ = nullptr;
};

}  // namespace fusedstep::cuda
