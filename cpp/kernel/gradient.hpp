// What happens to a gradient before the rule sees it, in this order: sets combined, unscaled,
// clipped by norm, clipped by value, negated, coupled decay added. Shared by the tensors of a
// group; every default is a no-op.
#pragma once

#include <cstddef>
#include <limits>

#include "formats/format.hpp"
#include "formats/rounding.hpp"

namespace fusedstep {

struct Gradient {
  std::size_t set_count = 1;
  const double* weights = nullptr;  // one per set; null: a single set, used as is
  double divisor = 1.0;             // of the weighted sum
  double scale = 1.0;               // unscaling divisor
  double factor = 1.0;              // 1 / scale if exact (exact_reciprocal), else 0
  double clip = 1.0;                // clipping factor
  double max_value = std::numeric_limits<double>::infinity();
  bool negate = false;
  double weight_decay = 0.0;
  bool zero = false;  // zero the source after the step
  Draw draw = {};     // what rounding the results depends on, without the tensor's number

  // Whether the rule can read a single array, as is or adjusted in registers.
  bool is_one_array() const { return weights == nullptr && factor != 0.0; }
  bool is_plain() const {
    return weights == nullptr && factor == 1.0 && clip == 1.0 && !negate && weight_decay == 0.0 &&
           max_value == std::numeric_limits<double>::infinity();
  }
};

}  // namespace fusedstep
