// Functions that launch the sweeps. They do not throw: check_launch() does.
#pragma once

#include <array>

#include "engine/registry.hpp"
#include "runtime.hpp"
#include "tables.hpp"

namespace fusedstep::cuda {

using Launch = void (*)(const Sweep& sweep, unsigned blocks, Stream stream);

struct RuleLaunches {
  Launch update, probe;  // probe: for layer-wise rules, else null
};

// For launches without narrow tensors and gradients, and with.
using RuleKinds = std::array<RuleLaunches, 2>;

// Throws std::invalid_argument if the rule is not compiled for devices.
const RuleKinds& launches_of(const RuleInfo& rule);
void launch_measure(const Sweep& sweep, unsigned blocks, Stream stream);
void launch_clear(const Clear& clear, Stream stream);

}  // namespace fusedstep::cuda
