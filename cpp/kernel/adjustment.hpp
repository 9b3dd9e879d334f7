// What a step does to one element besides the rule, in registers; shared by host and device.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdlib>

#include "formats/format.hpp"
#include "gradient.hpp"
#include "numeric/host_device.hpp"
#include "rules/ema.hpp"

namespace fusedstep {

// The options of Gradient that apply after its sets are combined. Disabled ones change no bit.
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

  // Without an exact factor, the gradient has already been divided.
  FUSEDSTEP_HD static T unscaling_factor(const Gradient& source) {
    return source.factor == 0.0 ? T(1) : T(source.factor);
  }

  FUSEDSTEP_HD T operator()(T g, T p) const {
    g = g * factor;
    g = g * clip;
    g = g > max_value ? max_value : g;  // NaN stays NaN
    g = g < -max_value ? -max_value : g;
    g = g * sign;
    const T decayed = g + weight_decay * p;
    return weight_decay != T(0) ? decayed : g;  // 0 * p may be NaN
  }
};

// The work on an element before and after the rule.
template <class T>
struct Extras {
  Adjustment<T> adjust;
  EMA<T, 0> average;
  T* unread;  // stands in for the average of a tensor without one; as long as a stage
};

// 1 / scale if multiplying by it equals dividing by scale to the bit (powers of two), else 0.
inline double exact_reciprocal(double scale, Compute compute) {
  int exponent = 0;
  const int limit = compute == Compute::float32 ? 126 : 1022;
  const bool exact = std::frexp(scale, &exponent) == 0.5 && std::abs(exponent - 1) <= limit;
  return exact ? 1.0 / scale : 0.0;
}

// As torch.nn.utils.clip_grad_norm_; NaN stays NaN. An infinite limit never clips, even then.
FUSEDSTEP_HD double clip_factor(double max_norm, double norm) {
  if (max_norm > DBL_MAX) return 1.0;
  const double factor = max_norm / (norm + 1e-6);
  return factor > 1.0 ? 1.0 : factor;
}

}  // namespace fusedstep
