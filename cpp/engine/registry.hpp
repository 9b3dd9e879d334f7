// The rules at run time: their names, and how their scalars become a functor.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernel/kernel_table.hpp"

namespace fusedstep {

// A functor of any rule and type.
struct alignas(8) FunctorBytes {
  std::byte bytes[96];
};

// A rule by its description: all that the engines know of it. One that is compiled elsewhere, at
// run time, is another description, whose sweeps are the same for every instruction set.
struct RuleInfo {
  const char* name;
  ScalarNames scalars;
  FlagNames flags;
  unsigned variants;
  bool layerwise;                           // depends on norms over a whole tensor
  bool rowwise;                             // has one number per row as each state
  std::array<States, kMaxVariants> states;  // of each variant
  // Rounds `scalars` to the functor of step t.
  using Prepare = void (*)(const double* scalars, std::int64_t t, FunctorBytes* out);
  Prepare prepare[kMaxVariants][kComputes];
  // Of layer-wise rules, else null: fits the functor to a tensor with such norms.
  using Fit = void (*)(FunctorBytes* functor, double param_norm, double direction_norm);
  Fit fit[kMaxVariants][kComputes];
  // In the order of available_tables().
  std::vector<const RuleSweeps*> sweeps;
};

// Every rule, in the order of AllRules. The descriptions stay where they are.
const std::array<RuleInfo, kRules>& registry();

// Throws std::invalid_argument where no rule is called so.
const RuleInfo& rule_called(const std::string& name);

}  // namespace fusedstep
