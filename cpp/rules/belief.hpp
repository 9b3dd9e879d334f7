// Variants of Adam with a different second moment.
#pragma once

#include "rule.hpp"

namespace fusedstep {

// Zhuang et al. 2020, Algorithm 2: the second moment of the deviation from the first. Scalars fold
// as in Adam; the eps inside the average is not bias-corrected.
template <class T, unsigned Flags>
struct AdaBelief {
  static constexpr const char* kName = "adabelief";
  static constexpr ScalarNames kScalars{{"lr", "beta1", "beta2", "eps", "weight_decay"}};
  static constexpr FlagNames kFlags{};
  static constexpr States kStates{
      {{"exp_avg", Content::average}, {"exp_avg_var", Content::square}}};

  struct Scalars {
    double lr, beta1, beta2, eps, weight_decay;
  };
  T beta1, weight1, beta2, weight2, added, step_size, eps, shrink;

  FUSEDSTEP_HD AdaBelief(const Scalars& s, std::int64_t t)
      : beta1(T(s.beta1)),
        weight1(T(1.0 - s.beta1)),
        beta2(T(s.beta2)),
        weight2(T(1.0 - s.beta2)),
        added(T(s.eps)),
        shrink(T(1.0 - s.lr * s.weight_decay)) {
    const double root2 = square_root(1.0 - power(s.beta2, t));
    step_size = T(s.lr * root2 / (1.0 - power(s.beta1, t)));
    eps = T(s.eps * root2);
  }

  FUSEDSTEP_HD void operator()(T& p, T g, T& exp_avg, T& exp_avg_var) const {
    p = p * shrink;
    exp_avg = beta1 * exp_avg + weight1 * g;
    const T surprise = g - exp_avg;
    exp_avg_var = beta2 * exp_avg_var + weight2 * (surprise * surprise) + added;
    p = p - step_size * exp_avg / (square_root(exp_avg_var) + eps);
  }
};

// Zaheer et al. 2018, Algorithm 2, with bias correction: the second moment moves towards the square
// by a fixed fraction of it.
template <class T, unsigned Flags>
struct Yogi {
  static constexpr const char* kName = "yogi";
  static constexpr ScalarNames kScalars{{"lr", "beta1", "beta2", "eps"}};
  static constexpr FlagNames kFlags{};
  static constexpr States kStates{{{"exp_avg", Content::average}, {"exp_avg_sq", Content::square}}};

  struct Scalars {
    double lr, beta1, beta2, eps;
  };
  T beta1, weight1, weight2, step_size, eps;

  FUSEDSTEP_HD Yogi(const Scalars& s, std::int64_t t)
      : beta1(T(s.beta1)), weight1(T(1.0 - s.beta1)), weight2(T(1.0 - s.beta2)) {
    const double root2 = square_root(1.0 - power(s.beta2, t));
    step_size = T(s.lr * root2 / (1.0 - power(s.beta1, t)));
    eps = T(s.eps * root2);
  }

  FUSEDSTEP_HD void operator()(T& p, T g, T& exp_avg, T& exp_avg_sq) const {
    exp_avg = beta1 * exp_avg + weight1 * g;
    const T square = g * g;
    exp_avg_sq = exp_avg_sq - weight2 * sign(exp_avg_sq - square) * square;
    p = p - step_size * exp_avg / (square_root(exp_avg_sq) + eps);
  }
};

using BeliefFamily = RuleList<AdaBelief, Yogi>;

}  // namespace fusedstep
