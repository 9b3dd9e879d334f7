// Rules that mix two averages. Scalars fold as in Adam.
#pragma once

#include "numeric/real_power.hpp"
#include "rule.hpp"

namespace fusedstep {

// Xie et al. 2024, as in the authors' code: gradients, their differences, and proximal decay.
template <class T, unsigned Flags>
struct Adan {
  static constexpr const char* kName = "adan";
  static constexpr ScalarNames kScalars{{"lr", "beta1", "beta2", "beta3", "eps", "weight_decay"}};
  static constexpr FlagNames kFlags{};
  static constexpr States kStates{{{"exp_avg", Content::average},
                                   {"exp_avg_diff", Content::average},
                                   {"exp_avg_sq", Content::square},
                                   {"pre_grad", Content::number}}};

  struct Scalars {
    double lr, beta1, beta2, beta3, eps, weight_decay;
  };
  T beta1, weight1, beta2, weight2, beta3, weight3, step_size, diff_size, eps, shrink, started;

  FUSEDSTEP_HD Adan(const Scalars& s, std::int64_t t)
      : beta1(T(s.beta1)),
        weight1(T(1.0 - s.beta1)),
        beta2(T(s.beta2)),
        weight2(T(1.0 - s.beta2)),
        beta3(T(s.beta3)),
        weight3(T(1.0 - s.beta3)),
        shrink(T(1.0 / (1.0 + s.lr * s.weight_decay))),
        started(T(t > 1 ? 1.0 : 0.0)) {
    const double root3 = square_root(1.0 - power(s.beta3, t));
    step_size = T(s.lr * root3 / (1.0 - power(s.beta1, t)));
    diff_size = T(s.lr * s.beta2 * root3 / (1.0 - power(s.beta2, t)));
    eps = T(s.eps * root3);
  }

  FUSEDSTEP_HD void operator()(T& p, T g, T& exp_avg, T& exp_avg_diff, T& exp_avg_sq,
                               T& pre_grad) const {
    const T diff = started != T(0) ? g - pre_grad : T(0);
    const T ahead = g + beta2 * diff;
    exp_avg = beta1 * exp_avg + weight1 * g;
    exp_avg_diff = beta2 * exp_avg_diff + weight2 * diff;
    exp_avg_sq = beta3 * exp_avg_sq + weight3 * (ahead * ahead);
    pre_grad = g;
    const T step =
        (step_size * exp_avg + diff_size * exp_avg_diff) / (square_root(exp_avg_sq) + eps);
    p = (p - step) * shrink;
  }
};

// beta3 during warm-up: the memory 1 / log(beta) grows linearly from beta1's to beta3's.
FUSEDSTEP_HD double ademamix_beta3(double beta1, double beta3, double part) {
  const double memory = (1.0 - part) / natural_log(beta1) + part / natural_log(beta3);
  const double beta = exponential(1.0 / memory);
  return part < 1.0 && beta < beta3 ? beta : beta3;
}

// Pagliardini, Ablin & Grangier 2024: a slow average, not bias-corrected, beside the fast one.
template <class T, unsigned Flags>
struct AdEMAMix {
  static constexpr const char* kName = "ademamix";
  static constexpr ScalarNames kScalars{
      {"lr", "beta1", "beta2", "beta3", "alpha", "warmup_steps", "eps", "weight_decay"}};
  static constexpr FlagNames kFlags{};
  static constexpr States kStates{{{"exp_avg_fast", Content::average},
                                   {"exp_avg_slow", Content::average},
                                   {"exp_avg_sq", Content::square}}};

  struct Scalars {
    double lr, beta1, beta2, beta3, alpha, warmup_steps, eps, weight_decay;
  };
  T beta1, weight1, beta2, weight2, beta3, weight3, fast_size, slow_size, eps, shrink;

  FUSEDSTEP_HD AdEMAMix(const Scalars& s, std::int64_t t)
      : beta1(T(s.beta1)),
        weight1(T(1.0 - s.beta1)),
        beta2(T(s.beta2)),
        weight2(T(1.0 - s.beta2)),
        shrink(T(1.0 - s.lr * s.weight_decay)) {
    const double part = double(t) < s.warmup_steps ? double(t) / s.warmup_steps : 1.0;
    const double slow = ademamix_beta3(s.beta1, s.beta3, part);
    const double root2 = square_root(1.0 - power(s.beta2, t));
    beta3 = T(slow);
    weight3 = T(1.0 - slow);
    fast_size = T(s.lr * root2 / (1.0 - power(s.beta1, t)));
    slow_size = T(s.lr * root2 * (part * s.alpha));
    eps = T(s.eps * root2);
  }

  FUSEDSTEP_HD void operator()(T& p, T g, T& exp_avg_fast, T& exp_avg_slow, T& exp_avg_sq) const {
    p = p * shrink;
    exp_avg_fast = beta1 * exp_avg_fast + weight1 * g;
    exp_avg_slow = beta3 * exp_avg_slow + weight3 * g;
    exp_avg_sq = beta2 * exp_avg_sq + weight2 * (g * g);
    p = p - (fast_size * exp_avg_fast + slow_size * exp_avg_slow) / (square_root(exp_avg_sq) + eps);
  }
};

using MixtureFamily = RuleList<Adan, AdEMAMix>;

}  // namespace fusedstep
