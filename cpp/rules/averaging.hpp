// Rules that average the parameters over the steps.
#pragma once

#include "numeric/real_power.hpp"
#include "rule.hpp"

namespace fusedstep {

// Polyak & Juditsky 1992, as in torch: step t uses the rate computed by step t - 1.
template <class T, unsigned Flags>
struct ASGD {
  static constexpr const char* kName = "asgd";
  static constexpr ScalarNames kScalars{{"lr", "lambd", "alpha", "t0"}};
  static constexpr FlagNames kFlags{};
  static constexpr States kStates{{{"ax"}}};

  struct Scalars {
    double lr, lambd, alpha, t0;
  };
  T eta, shrink, mu;

  FUSEDSTEP_HD ASGD(const Scalars& s, std::int64_t t) {
    const double before = double(t - 1);
    const double rate = s.lr / real_power(1.0 + s.lambd * s.lr * before, s.alpha);
    eta = T(rate);
    shrink = T(1.0 - s.lambd * rate);
    mu = T(1.0 / maximum(before - s.t0, 1.0));
  }

  FUSEDSTEP_HD void operator()(T& p, T g, T& ax) const {
    p = p * shrink - eta * g;
    ax = mu != T(1) ? ax + mu * (p - ax) : p;
  }
};

// Weight of step t in the running mean weighted by squared learning rates, for a linear warm-up
// from 0 followed by a constant rate: t^2 / (1^2 + 2^2 + ...) during the warm-up, then 1 / (mean
// square of the warm-up * its steps + the steps since).
FUSEDSTEP_HD double schedule_free_weight(double warmup_steps, std::int64_t t) {
  const double now = double(t);
  if (now <= warmup_steps) return 6.0 * now / ((now + 1.0) * (2.0 * now + 1.0));
  const double n = std::floor(warmup_steps);
  const double sum =
      n > 0.0 ? n * (n + 1.0) * (2.0 * n + 1.0) / (6.0 * warmup_steps * warmup_steps) : 0.0;
  return 1.0 / (sum + (now - n));
}

// Defazio et al. 2024, as in the authors' code: the parameter is where gradients are taken, between
// the iterate z and the average of z.
template <class T, unsigned Flags>
struct ScheduleFreeAdamW {
  static constexpr const char* kName = "schedulefreeadamw";
  static constexpr ScalarNames kScalars{
      {"lr", "beta1", "beta2", "eps", "weight_decay", "warmup_steps"}};
  static constexpr FlagNames kFlags{};
  static constexpr States kStates{{{"z"}, {"exp_avg_sq", Content::square}}};

  struct Scalars {
    double lr, beta1, beta2, eps, weight_decay, warmup_steps;
  };
  T beta2, weight2, root2, eps, weight_decay, lr, towards, pull;

  FUSEDSTEP_HD ScheduleFreeAdamW(const Scalars& s, std::int64_t t)
      : beta2(T(s.beta2)), weight2(T(1.0 - s.beta2)), weight_decay(T(s.weight_decay)) {
    const double root = square_root(1.0 - power(s.beta2, t));
    const double rate = double(t) < s.warmup_steps ? s.lr * (double(t) / s.warmup_steps) : s.lr;
    const double weight = schedule_free_weight(s.warmup_steps, t);
    root2 = T(root);
    eps = T(s.eps * root);
    lr = T(rate);
    towards = T(weight);
    pull = T(rate * (1.0 - s.beta1 * (1.0 - weight)));
  }

  FUSEDSTEP_HD void operator()(T& p, T g, T& z, T& exp_avg_sq) const {
    exp_avg_sq = beta2 * exp_avg_sq + weight2 * (g * g);
    const T step = root2 * g / (square_root(exp_avg_sq) + eps) + weight_decay * p;
    p = p + towards * (z - p) - pull * step;
    z = z - lr * step;
  }
};

using AveragingFamily = RuleList<ASGD, ScheduleFreeAdamW>;

}  // namespace fusedstep
