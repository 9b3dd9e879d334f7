// Rules with two moments of the gradient.
#pragma once

#include "numeric/real_power.hpp"
#include "rule.hpp"

namespace fusedstep {

// Kingma & Ba 2015, Algorithm 1; amsgrad: Reddi, Kale & Kumar 2018, as in torch.
//
// With c1 = 1 - beta1^t and c2 = 1 - beta2^t, the paper's lr * (m / c1) / (sqrt(v / c2) + eps) is
// (lr * sqrt(c2) / c1) * m / (sqrt(v) + eps * sqrt(c2)): one division per parameter instead of
// three, with the corrections folded into two scalars.
template <class T, unsigned Flags>
struct Adam {
  static constexpr const char* kName = "adam";
  static constexpr ScalarNames kScalars{{"lr", "beta1", "beta2", "eps"}};
  static constexpr FlagNames kFlags{{"amsgrad", "eps_inside_sqrt"}};
  static constexpr bool kAmsgrad = Flags & 1, kEpsInside = Flags & 2;
  static constexpr States kStates{{{"exp_avg", Content::average},
                                   {"exp_avg_sq", Content::square},
                                   {"max_exp_avg_sq", Content::square, kAmsgrad}}};

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

// Loshchilov & Hutter 2019, as scaled in torch: the weights shrink by 1 - lr * weight_decay, then
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

// Kingma & Ba 2015, section 7.1, as in torch: eps is inside the maximum.
template <class T, unsigned Flags>
struct Adamax {
  static constexpr const char* kName = "adamax";
  static constexpr ScalarNames kScalars{{"lr", "beta1", "beta2", "eps"}};
  static constexpr FlagNames kFlags{};
  static constexpr States kStates{{{"exp_avg", Content::average}, {"exp_inf", Content::square}}};

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

// NAdam's momentum at step t: rises from about beta1 / 2 to beta1.
FUSEDSTEP_HD double nadam_momentum(double beta1, double momentum_decay, double t) {
  return beta1 * (1.0 - 0.5 * real_power(0.96, t * momentum_decay));
}

// Product of the momenta of steps 1 to t, as far as 1 - product can resolve it: about 50 factors at
// the defaults, at most 2,600; then the product is 0 beside 1, or every factor is beta1.
FUSEDSTEP_HD double nadam_product(double beta1, double momentum_decay, std::int64_t t) {
  const double ratio = real_power(0.96, momentum_decay);
  double product = 1.0, decay = 1.0;
  for (; t > 0 && product > 0x1p-60 && decay > 0x1p-60; --t) {
    decay = decay * ratio;
    product = product * (beta1 * (1.0 - 0.5 * decay));
  }
  return product * power(beta1, t);
}

// Dozat 2016, as in torch. The gradient and momentum terms share a denominator; sqrt(c2) folds into
// their numerators as in Adam.
template <class T, unsigned Flags>
struct NAdam {
  static constexpr const char* kName = "nadam";
  static constexpr ScalarNames kScalars{
      {"lr", "beta1", "beta2", "eps", "momentum_decay", "weight_decay"}};
  static constexpr FlagNames kFlags{{"decoupled_weight_decay"}};
  static constexpr bool kDecoupled = Flags & 1;
  static constexpr States kStates{{{"exp_avg", Content::average}, {"exp_avg_sq", Content::square}}};

  struct Scalars {
    double lr, beta1, beta2, eps, momentum_decay, weight_decay;
  };
  T beta1, weight1, beta2, weight2, grad_size, step_size, eps, shrink;

  FUSEDSTEP_HD NAdam(const Scalars& s, std::int64_t t)
      : beta1(T(s.beta1)),
        weight1(T(1.0 - s.beta1)),
        beta2(T(s.beta2)),
        weight2(T(1.0 - s.beta2)),
        shrink(T(1.0 - s.lr * s.weight_decay)) {
    const double mu = nadam_momentum(s.beta1, s.momentum_decay, double(t));
    const double next = nadam_momentum(s.beta1, s.momentum_decay, double(t) + 1.0);
    const double product = nadam_product(s.beta1, s.momentum_decay, t);
    const double root2 = square_root(1.0 - power(s.beta2, t));
    grad_size = T(s.lr * root2 * (1.0 - mu) / (1.0 - product));
    step_size = T(s.lr * root2 * next / (1.0 - product * next));
    eps = T(s.eps * root2);
  }

  FUSEDSTEP_HD void operator()(T& p, T g, T& exp_avg, T& exp_avg_sq) const {
    if constexpr (kDecoupled) p = p * shrink;
    exp_avg = beta1 * exp_avg + weight1 * g;
    exp_avg_sq = beta2 * exp_avg_sq + weight2 * (g * g);
    p = p - (grad_size * g + step_size * exp_avg) / (square_root(exp_avg_sq) + eps);
  }
};

// Liu et al. 2020, as in torch: in the first steps, while the variance of the adaptive rate is
// intractable, the step uses the first moment alone.
template <class T, unsigned Flags>
struct RAdam {
  static constexpr const char* kName = "radam";
  static constexpr ScalarNames kScalars{{"lr", "beta1", "beta2", "eps", "weight_decay"}};
  static constexpr FlagNames kFlags{{"decoupled_weight_decay"}};
  static constexpr bool kDecoupled = Flags & 1;
  static constexpr States kStates{{{"exp_avg", Content::average}, {"exp_avg_sq", Content::square}}};

  struct Scalars {
    double lr, beta1, beta2, eps, weight_decay;
  };
  T beta1, weight1, beta2, weight2, step_size, eps, shrink, rectified;

  FUSEDSTEP_HD RAdam(const Scalars& s, std::int64_t t)
      : beta1(T(s.beta1)),
        weight1(T(1.0 - s.beta1)),
        beta2(T(s.beta2)),
        weight2(T(1.0 - s.beta2)),
        eps(T(s.eps)),
        shrink(T(1.0 - s.lr * s.weight_decay)) {
    const double power2 = power(s.beta2, t), sum2 = power_sum(s.beta2, t);
    const double longest = 2.0 / (1.0 - s.beta2) - 1.0;
    // The paper's longest - 2 * t * power2 / (1 - power2), with a hundredth of the cancellation.
    const double length =
        ((1.0 + s.beta2) * sum2 - 2.0 * double(t) * power2) / ((1.0 - s.beta2) * sum2);
    const double rectification =
        (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length);
    const double size = s.lr / (1.0 - power(s.beta1, t));
    rectified = T(length > 5.0 ? 1.0 : 0.0);
    step_size = T(length > 5.0 ? size * square_root(rectification * (1.0 - power2)) : size);
  }

  FUSEDSTEP_HD void operator()(T& p, T g, T& exp_avg, T& exp_avg_sq) const {
    if constexpr (kDecoupled) p = p * shrink;
    exp_avg = beta1 * exp_avg + weight1 * g;
    exp_avg_sq = beta2 * exp_avg_sq + weight2 * (g * g);
    const T denominator = rectified != T(0) ? square_root(exp_avg_sq) + eps : T(1);
    p = p - step_size * exp_avg / denominator;
  }
};

using AdamFamily = RuleList<Adam, AdamW, Adamax, NAdam, RAdam>;

}  // namespace fusedstep
