// The engine of an optimizer on a CUDA device: what the tables there hold, and the launches of a
// step. Counters, hyper-parameters and outcomes live on the device, so that no step waits for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../roster.hpp"
#include "runtime.hpp"

namespace fusedstep::cuda {

class Stepper : public Roster {
 public:
  explicit Stepper(std::size_t rule) : Roster(rule) {}

  // Where the next step runs, and where on the device it tells what became of it (bool, double):
  // written where the step measures, and not otherwise. All tensors live on `device`.
  void use(int device, Stream stream, bool* applied, double* grad_norm);

  void add(Tensor tensor);
  // These three wait for the device.
  std::int64_t step_count();
  std::vector<std::int64_t> steps();  // of each tensor, so far
  void set_counters(std::int64_t step_count, const std::vector<std::int64_t>& steps);
  void freeze(std::size_t tensor, bool frozen);
  // To be called when groups() have changed: a captured step sees it at its next replay.
  void publish_groups();

  // All that can fail before the first write, as for the engine of the CPU.
  void prepare(const GradientSets& gradients);
  void prepare(const RowGradients& gradients);

  // Launches the sweeps; waits for them only where error_if_nonfinite, and says so then.
  Outcome run();
};

}  // namespace fusedstep::cuda
