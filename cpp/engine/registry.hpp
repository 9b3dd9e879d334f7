// The rules at run time: their names, and how their scalars become a functor.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernel/kernel_table.hpp"

namespace fusedstep {

// A functor of any rule and dtype.
struct alignas(8) FunctorBytes {
  std::byte bytes[96];
};

struct RuleInfo {
  const char* name;
  ScalarNames scalars;
  FlagNames flags;
  bool layerwise;                           // depends on norms over a whole tensor
  bool rowwise;                             // has one number a row as each state
  std::array<States, kMaxVariants> states;  // of each variant
  // Rounds `scalars` to the functor of step t.
  void (*prepare[kMaxVariants][kDTypes])(const double* scalars, std::int64_t t, FunctorBytes* out);
};

const std::array<RuleInfo, kRules>& registry();

}  // namespace fusedstep
