// Rules that use only the sign of the gradient; the step length comes from elsewhere.
#pragma once

#include "rule.hpp"

namespace fusedstep {

// Chen et al. 2023, Program 1: the sign of one average moves the parameter, another is stored.
template <class T, unsigned Flags>
struct Lion {
  static constexpr const char* kName = "lion";
  static constexpr ScalarNames kScalars{{"lr", "beta1", "beta2", "weight_decay"}};
  static constexpr FlagNames kFlags{};
  static constexpr States kStates{{{"exp_avg", Content::average}}};

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

// Riedmiller & Braun 1993, as in torch: an element's step size grows while its gradient keeps its
// sign; on a sign change it shrinks, and that gradient is dropped.
template <class T, unsigned Flags>
struct Rprop {
  static constexpr const char* kName = "rprop";
  static constexpr ScalarNames kScalars{{"eta1", "eta2", "step_size1", "step_size2"}};
  static constexpr FlagNames kFlags{};
  static constexpr States kStates{{{"prev", Content::average}, {"step_size"}}};

  struct Scalars {
    double eta1, eta2, step_size1, step_size2;
  };
  T shorter, longer, shortest, longest;

  FUSEDSTEP_HD Rprop(const Scalars& s, std::int64_t)
      : shorter(T(s.eta1)),
        longer(T(s.eta2)),
        shortest(T(s.step_size1)),
        longest(T(s.step_size2)) {}

  FUSEDSTEP_HD void operator()(T& p, T g, T& prev, T& step_size) const {
    const T agreement = sign(g * prev);
    const T factor = agreement > T(0) ? longer : agreement < T(0) ? shorter : agreement + T(1);
    step_size = clamp(step_size * factor, shortest, longest);
    prev = agreement < T(0) ? T(0) : g;
    p = p - sign(prev) * step_size;
  }
};

using SignFamily = RuleList<Lion, Rprop>;

}  // namespace fusedstep
