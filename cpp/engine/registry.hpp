// The rules at run time: names, and the functors made from their scalars.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernel/kernel_table.hpp"

namespace fusedstep {

// Holds the functor of any rule and type.
struct alignas(8) FunctorBytes {
  std::byte bytes[96];
};

// Type-erased description of a rule: all that the engines know of it. A rule compiled at run time
// would be another description, with the same sweeps for every instruction set.
struct RuleInfo {
  const char* name;
  ScalarNames scalars;
  FlagNames flags;
  unsigned variants;
  bool layerwise;                           // depends on norms over a whole tensor
  bool rowwise;                             // each state has one number per row
  std::array<States, kMaxVariants> states;  // per variant
  // Makes the functor of step t, rounding `scalars`.
  using Prepare = void (*)(const double* scalars, std::int64_t t, FunctorBytes* out);
  Prepare prepare[kMaxVariants][kComputes];
  // Whether the first step from a zero gradient and zero states leaves a parameter finite: not
  // where an option is so small or large that what the functor makes of it rounds to 0 or infinity.
  using IsSteady = bool (*)(const double* scalars);
  IsSteady is_steady[kMaxVariants][kComputes];
  // Layer-wise rules, else null: scales the functor by a tensor's norms.
  using Fit = void (*)(FunctorBytes* functor, double param_norm, double direction_norm);
  Fit fit[kMaxVariants][kComputes];
  // In the order of available_tables().
  std::vector<const RuleSweeps*> sweeps;
};

// Every rule, in the order of AllRules. Addresses are stable. What includes this is not compiled
// anew where a rule changes.
const std::vector<RuleInfo>& registry();

// Throws std::invalid_argument if no rule has this name.
const RuleInfo& rule_called(const std::string& name);

// The index of a scalar of the rule, or scalars.size() if it has none of this name.
std::size_t scalar_called(const std::string& name, const RuleInfo& rule);

}  // namespace fusedstep
