// What a step does to one number, in registers, beside the rule: host and device share it.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdlib>

#include "formats/format.hpp"
#include "gradient.hpp"
#include "numeric/host_device.hpp"
#include "rules/ema.hpp"

namespace fusedstep {

// What Gradient asks for once its sets are one number. What is not asked for changes no bit.
template <class T>
struct Adjustment {
  T factor, clip, max_value, sign, weight_decay;

  FUSEDSTEP_HD explicit Adjustment(const Gradient& source)
      : Adjustment(unscaling_factor(source), source.clip, source.max_value, source.negate,
                   source.weight_decay) {}

  FUSEDSTEP_HD Adjustment(double unscaling, double clipping, double limit, bool negate,
                          double decay)
      : factor(T(unscaling)),
        clip(T(clipping)),
        max_value(T(limit)),
        sign(T(negate ? -1 : 1)),
        weight_decay(T(decay)) {}

  // Where it is no exact factor, the gradient was divided before.
  FUSEDSTEP_HD static T unscaling_factor(const Gradient& source) {
    return source.factor == 0.0 ? T(1) : T(source.factor);
  }

  FUSEDSTEP_HD T operator()(T g, T p) const {
    g = g * factor;
    g = g * clip;
    g = g > max_value ? max_value : g;  // a NaN stays
    g = g < -max_value ? -max_value : g;
    g = g * sign;
    const T decayed = g + weight_decay * p;
    return weight_decay != T(0) ? decayed : g;  // 0 * p need not be 0
  }
};

// What happens to one number before and after the rule.
template <class T>
struct Around {
  Adjustment<T> adjust;
  EMA<T, 0> average;
};

// 1 / scale where multiplying by it is dividing by scale, to the bit: for powers of two. Else 0.
inline double exact_reciprocal(double scale, Compute compute) {
  int exponent = 0;
  const int limit = compute == Compute::float32 ? 126 : 1022;
  const bool exact = std::frexp(scale, &exponent) == 0.5 && std::abs(exponent - 1) <= limit;
  return exact ? 1.0 / scale : 0.0;
}

// torch.nn.utils.clip_grad_norm_. A NaN stays one; but infinity clips nothing, whatever the norm.
FUSEDSTEP_HD double clip_factor(double max_norm, double norm) {
  if (max_norm > DBL_MAX) return 1.0;
  const double factor = max_norm / (norm + 1e-6);
  return factor > 1.0 ? 1.0 : factor;
}

}  // namespace fusedstep
