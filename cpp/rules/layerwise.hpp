// Rules that scale the step of a whole tensor by a ratio of norms.
#pragma once

#include "rule.hpp"

namespace fusedstep {

// numerator / denominator if both are positive, else 1, so that a tensor of zeros can move.
FUSEDSTEP_HD double trust_ratio(double numerator, double denominator) {
  return ((numerator > 0.0) & (denominator > 0.0)) ? numerator / denominator : 1.0;
}

// You et al. 2020, Algorithm 2, with phi(x) = x. Corrections fold as in Adam.
template <class T, unsigned Flags>
struct LAMB {
  static constexpr const char* kName = "lamb";
  static constexpr ScalarNames kScalars{{"lr", "beta1", "beta2", "eps", "weight_decay"}};
  static constexpr FlagNames kFlags{{"trust_ratio"}};
  static constexpr States kStates{{{"exp_avg", Content::average}, {"exp_avg_sq", Content::square}}};
  static constexpr bool kLayerwise = true, kProbeStores = true;

  struct Scalars {
    double lr, beta1, beta2, eps, weight_decay;
  };
  double rate;
  T beta1, weight1, beta2, weight2, correction, eps, weight_decay, lr;

  FUSEDSTEP_HD LAMB(const Scalars& s, std::int64_t t)
      : rate(s.lr),
        beta1(T(s.beta1)),
        weight1(T(1.0 - s.beta1)),
        beta2(T(s.beta2)),
        weight2(T(1.0 - s.beta2)),
        weight_decay(T(s.weight_decay)),
        lr(T(s.lr)) {
    const double root = square_root(1.0 - power(s.beta2, t));
    correction = T(root / (1.0 - power(s.beta1, t)));
    eps = T(s.eps * root);
  }

  FUSEDSTEP_HD T direction(T p, T, T exp_avg, T exp_avg_sq) const {
    return correction * exp_avg / (square_root(exp_avg_sq) + eps) + weight_decay * p;
  }

  FUSEDSTEP_HD T probe(T p, T g, T& exp_avg, T& exp_avg_sq) const {
    exp_avg = beta1 * exp_avg + weight1 * g;
    exp_avg_sq = beta2 * exp_avg_sq + weight2 * (g * g);
    return direction(p, g, exp_avg, exp_avg_sq);
  }

  FUSEDSTEP_HD void scale(double param_norm, double norm) {
    if constexpr (Flags & 1) lr = T(rate * trust_ratio(param_norm, norm));
  }

  FUSEDSTEP_HD void operator()(T& p, T g, T& exp_avg, T& exp_avg_sq) const {
    p = p - lr * direction(p, g, exp_avg, exp_avg_sq);
  }
};

// You, Gitman & Ginsburg 2017, Algorithm 1.
template <class T, unsigned Flags>
struct LARS {
  static constexpr const char* kName = "lars";
  static constexpr ScalarNames kScalars{{"lr", "momentum", "trust_coefficient", "weight_decay"}};
  static constexpr FlagNames kFlags{{"momentum", "trust_ratio"}};
  static constexpr bool kMomentum = Flags & 1, kTrustRatio = Flags & 2;
  static constexpr States kStates{{{"momentum_buffer", Content::average, kMomentum}}};
  static constexpr bool kLayerwise = true, kProbeStores = false;

  struct Scalars {
    double lr, momentum, trust_coefficient, weight_decay;
  };
  Scalars given;
  T momentum, weight_decay, lr;

  FUSEDSTEP_HD LARS(const Scalars& s, std::int64_t)
      : given(s), momentum(T(s.momentum)), weight_decay(T(s.weight_decay)), lr(T(s.lr)) {}

  FUSEDSTEP_HD T probe(T, T g, T&) const { return g; }
  FUSEDSTEP_HD T direction(T, T g, T) const { return g; }

  FUSEDSTEP_HD void scale(double param_norm, double norm) {
    if constexpr (kTrustRatio)
      lr = T(given.lr * trust_ratio(given.trust_coefficient * param_norm,
                                    norm + given.weight_decay * param_norm));
  }

  FUSEDSTEP_HD void operator()(T& p, T g, T& momentum_buffer) const {
    T d = lr * (g + weight_decay * p);
    if constexpr (kMomentum) d = momentum_buffer = momentum * momentum_buffer + d;
    p = p - d;
  }
};

using LayerwiseFamily = RuleList<LAMB, LARS>;

}  // namespace fusedstep
