// Rules that follow the sign of the gradient and choose the length of a step without it.
#pragma once

#include "rule.hpp"

namespace fusedstep {

// Chen et al. 2023, Program 1: the sign of one average moves the parameter, another is kept.
template <class T, unsigned Flags>
struct Lion {
  static constexpr const char* kName = "lion";
  static constexpr ScalarNames kScalars{{"lr", "beta1", "beta2", "weight_decay"}};
  static constexpr FlagNames kFlags{};
  static constexpr States kStates{{{"exp_avg"}}};

  struct Scalars {
    double lr, beta1, beta2, weight_decay;
  };
  T lr, beta1, weight1, beta2, weight2, shrink;

  FUSEDSTEP_HD Lion(const Scalars& s, std::int64_t)
      : lr(T(s.lr)),
        beta1(T(s.beta1)),
        weight1(T(1.0 - s.beta1)),
        beta2(T(s.beta2)),
        weight2(T(1.0 - s.beta2)),
        shrink(T(1.0 - s.lr * s.weight_decay)) {}

  FUSEDSTEP_HD void operator()(T& p, T g, T& exp_avg) const {
    p = p * shrink - lr * sign(beta1 * exp_avg + weight1 * g);
    exp_avg = beta2 * exp_avg + weight2 * g;
  }
};

using SignFamily = RuleList<Lion>;

}  // namespace fusedstep
