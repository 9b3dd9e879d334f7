// Rules with two moments of the gradient.
#pragma once

#include "rule.hpp"

namespace fusedstep {

// Kingma & Ba 2015, Algorithm 1; amsgrad: Reddi, Kale & Kumar 2018, as torch takes it.
//
// With c1 = 1 - beta1^t and c2 = 1 - beta2^t the paper's lr * (m / c1) / (sqrt(v / c2) + eps) is
// (lr * sqrt(c2) / c1) * m / (sqrt(v) + eps * sqrt(c2)): one division a parameter instead of
// three, and the corrections fold into two scalars.
template <class T, unsigned Flags>
struct Adam {
  static constexpr const char* kName = "adam";
  static constexpr ScalarNames kScalars{{"lr", "beta1", "beta2", "eps"}};
  static constexpr FlagNames kFlags{{"amsgrad", "eps_inside_sqrt"}};
  static constexpr bool kAmsgrad = Flags & 1, kEpsInside = Flags & 2;
  static constexpr States kStates{{{"exp_avg"}, {"exp_avg_sq"}, {"max_exp_avg_sq", kAmsgrad}}};

  struct Scalars {
    double lr, beta1, beta2, eps;
  };
  T beta1, weight1, beta2, weight2, step_size, eps;

  FUSEDSTEP_HD Adam(const Scalars& s, std::int64_t t)
      : beta1(T(s.beta1)), weight1(T(1.0 - s.beta1)), beta2(T(s.beta2)), weight2(T(1.0 - s.beta2)) {
    const double correction1 = 1.0 - power(s.beta1, t);
    const double correction2 = 1.0 - power(s.beta2, t);
    step_size = T(s.lr * square_root(correction2) / correction1);
    eps = T(s.eps * (kEpsInside ? correction2 : square_root(correction2)));
  }

  FUSEDSTEP_HD void operator()(T& p, T g, T& exp_avg, T& exp_avg_sq, T& max_exp_avg_sq) const {
    exp_avg = beta1 * exp_avg + weight1 * g;
    exp_avg_sq = beta2 * exp_avg_sq + weight2 * (g * g);
    T second = exp_avg_sq;
    if constexpr (kAmsgrad) second = max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq);
    p = p - step_size * exp_avg / damped_root<kEpsInside>(second, eps);
  }
};

// Loshchilov & Hutter 2019, as torch scales it: the weights shrink by 1 - lr * weight_decay, then
// Adam steps.
template <class T, unsigned Flags>
struct AdamW : Adam<T, Flags> {
  static constexpr const char* kName = "adamw";
  static constexpr ScalarNames kScalars{{"lr", "beta1", "beta2", "eps", "weight_decay"}};

  struct Scalars {
    double lr, beta1, beta2, eps, weight_decay;
  };
  T shrink;

  FUSEDSTEP_HD AdamW(const Scalars& s, std::int64_t t)
      : Adam<T, Flags>({s.lr, s.beta1, s.beta2, s.eps}, t),
        shrink(T(1.0 - s.lr * s.weight_decay)) {}

  FUSEDSTEP_HD void operator()(T& p, T g, T& exp_avg, T& exp_avg_sq, T& max_exp_avg_sq) const {
    p = p * shrink;
    Adam<T, Flags>::operator()(p, g, exp_avg, exp_avg_sq, max_exp_avg_sq);
  }
};

// Kingma & Ba 2015, section 7.1, as torch computes it: eps within the maximum.
template <class T, unsigned Flags>
struct Adamax {
  static constexpr const char* kName = "adamax";
  static constexpr ScalarNames kScalars{{"lr", "beta1", "beta2", "eps"}};
  static constexpr FlagNames kFlags{};
  static constexpr States kStates{{{"exp_avg"}, {"exp_inf"}}};

  struct Scalars {
    double lr, beta1, beta2, eps;
  };
  T beta1, weight1, beta2, eps, step_size;

  FUSEDSTEP_HD Adamax(const Scalars& s, std::int64_t t)
      : beta1(T(s.beta1)),
        weight1(T(1.0 - s.beta1)),
        beta2(T(s.beta2)),
        eps(T(s.eps)),
        step_size(T(s.lr / (1.0 - power(s.beta1, t)))) {}

  FUSEDSTEP_HD void operator()(T& p, T g, T& exp_avg, T& exp_inf) const {
    exp_avg = beta1 * exp_avg + weight1 * g;
    exp_inf = maximum(beta2 * exp_inf, absolute(g) + eps);
    p = p - step_size * exp_avg / exp_inf;
  }
};

using AdamFamily = RuleList<Adam, AdamW, Adamax>;

}  // namespace fusedstep
