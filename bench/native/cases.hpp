// The benchmark matrix: rule, dtype, instruction set, thread count and shape.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/registry.hpp"

namespace fusedstep::bench {

// The parameters of one optimizer: a single array, or the tensors of a model.
struct Shape {
  std::string name;  // size:2^20, model:resnet50
  std::vector<std::size_t> sizes;
  std::size_t total() const;
};

// Offset of parameters and gradients from a page or, for arrays smaller than a page, from a cache
// line.
struct Placement {
  const char* prefix;  // of the benchmark's name
  std::size_t offset;
};

// Large NumPy arrays start 16 bytes past a page, after malloc's header.
constexpr Placement kNumPy{"", 16}, kAligned{"aligned/", 0};

// The indices of the states that a variant uses.
std::vector<std::size_t> used_states(const States& states);

struct Case {
  const RuleInfo* rule;
  unsigned variant;
  Format format;
  const char* isa;
  int threads;         // the limit: small shapes use fewer
  const Shape* shape;  // static lifetime
  Placement placement;

  std::size_t state_count() const { return used_states(rule->states[variant]).size(); }

  std::string name() const;            // adam+amsgrad/float32/avx512/threads:2/size:2^20
  std::size_t bytes_held() const;      // over all arrays
  std::size_t bytes_per_step() const;  // gradients read; parameters and state read and written
};

std::vector<Case> all_cases(const Placement& placement);

}  // namespace fusedstep::bench
