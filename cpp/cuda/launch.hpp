// The sweeps as functions that launch them. Throw nothing: check_launch() tells.
#pragma once

#include "runtime.hpp"
#include "tables.hpp"

namespace fusedstep::cuda {

using Launch = void (*)(const Sweep& sweep, unsigned blocks, Stream stream);

struct RuleLaunches {
  Launch update, probe;  // probe: of layer-wise rules, else null
};

const RuleLaunches& launches_of(std::size_t rule);
void launch_measure(const Sweep& sweep, unsigned blocks, Stream stream);

}  // namespace fusedstep::cuda
