// Exponential moving average of any series, written as a rule: the "parameter" is the average and
// the "gradient" the new value.
#pragma once

#include "rule.hpp"

namespace fusedstep {

template <class T, unsigned Flags>
struct EMA {
  static constexpr const char* kName = "ema";
  static constexpr ScalarNames kScalars{{"decay"}};
  static constexpr FlagNames kFlags{};
  static constexpr States kStates{};

  struct Scalars {
    double decay;
  };
  T decay, weight;

  FUSEDSTEP_HD EMA(const Scalars& s, std::int64_t) : decay(T(s.decay)), weight(T(1.0 - s.decay)) {}

  FUSEDSTEP_HD void operator()(T& average, T value) const {
    average = decay * average + weight * value;
  }
};

using EmaFamily = RuleList<EMA>;

}  // namespace fusedstep
