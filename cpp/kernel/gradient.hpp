// What is done to a gradient before the rule sees it, in this order: sets combined, unscaled,
// clipped by norm, clipped by value, negated, coupled decay added. Shared by the tensors of a
// group; the default of each does nothing.
#pragma once

#include <cstddef>
#include <limits>

#include "formats/format.hpp"

namespace fusedstep {

struct Gradient {
  std::size_t set_count = 1;
  const double* weights = nullptr;  // one per set; null: a single set, taken as it is
  double divisor = 1.0;             // of the weighted sum
  double scale = 1.0;               // divides
  double factor = 1.0;              // 1 / scale where to multiply by it is the same, else 0
  double clip = 1.0;                // multiplies
  double max_value = std::numeric_limits<double>::infinity();
  bool negate = false;
  double weight_decay = 0.0;
  bool zero = false;  // afterwards, where it came from

  // Whether it is one array that the rule can read as it is, or with a few operations in registers.
  bool is_one_array() const { return weights == nullptr && factor != 0.0; }
  bool is_plain() const {
    return weights == nullptr && factor == 1.0 && clip == 1.0 && !negate && weight_decay == 0.0 &&
           max_value == std::numeric_limits<double>::infinity();
  }
};

}  // namespace fusedstep
