// Rules that divide by the root of the summed or averaged squared gradients.
#pragma once

#include "rule.hpp"

namespace fusedstep {

// Duchi, Hazan & Singer 2011.
template <class T, unsigned Flags>
struct Adagrad {
  static constexpr const char* kName = "adagrad";
  static constexpr ScalarNames kScalars{{"lr", "lr_decay", "eps"}};
  static constexpr FlagNames kFlags{{"eps_inside_sqrt"}};
  static constexpr bool kEpsInside = Flags & 1;
  static constexpr States kStates{{{"sum", Content::square}}};

  struct Scalars {
    double lr, lr_decay, eps;
  };
  T lr, eps;

  FUSEDSTEP_HD Adagrad(const Scalars& s, std::int64_t t)
      : lr(T(s.lr / (1.0 + double(t - 1) * s.lr_decay))), eps(T(s.eps)) {}

  FUSEDSTEP_HD T root(T sum) const { return damped_root<kEpsInside>(sum, eps); }

  FUSEDSTEP_HD void operator()(T& p, T g, T& sum) const {
    sum = sum + g * g;
    p = p - lr * g / root(sum);
  }
};

// Adagrad for embedding tables: one sum per row, of the mean squared gradients.
template <class T, unsigned Flags>
struct RowwiseAdagrad : Adagrad<T, Flags> {
  static constexpr const char* kName = "rowwiseadagrad";
  static constexpr bool kRowwise = true;
  using Adagrad<T, Flags>::Adagrad;

  FUSEDSTEP_HD void settle(double mean_square, T& sum) const { sum = sum + T(mean_square); }

  FUSEDSTEP_HD T shared(T sum) const { return this->root(sum); }

  FUSEDSTEP_HD void operator()(T& p, T g, T root) const { p = p - this->lr * g / root; }
};

// Tieleman & Hinton 2012; centered: Graves 2013. A centered variance can round below zero, so it is
// clamped.
template <class T, unsigned Flags>
struct RMSprop {
  static constexpr const char* kName = "rmsprop";
  static constexpr ScalarNames kScalars{{"lr", "alpha", "eps", "momentum"}};
  static constexpr FlagNames kFlags{{"centered", "momentum", "eps_inside_sqrt"}};
  static constexpr bool kCentered = Flags & 1, kMomentum = Flags & 2, kEpsInside = Flags & 4;
  static constexpr States kStates{{{"square_avg", kCentered ? Content::exact : Content::square},
                                   {"grad_avg", Content::exact, kCentered},
                                   {"momentum_buffer", Content::average, kMomentum}}};

  struct Scalars {
    double lr, alpha, eps, momentum;
  };
  T lr, alpha, weight, eps, momentum;

  FUSEDSTEP_HD RMSprop(const Scalars& s, std::int64_t)
      : lr(T(s.lr)),
        alpha(T(s.alpha)),
        weight(T(1.0 - s.alpha)),
        eps(T(s.eps)),
        momentum(T(s.momentum)) {}

  FUSEDSTEP_HD void operator()(T& p, T g, T& square_avg, T& grad_avg, T& momentum_buffer) const {
    square_avg = alpha * square_avg + weight * (g * g);
    T variance = square_avg;
    if constexpr (kCentered) {
      grad_avg = alpha * grad_avg + weight * g;
      variance = maximum(square_avg - grad_avg * grad_avg, T(0));
    }
    const T root = damped_root<kEpsInside>(variance, eps);
    if constexpr (kMomentum) {
      momentum_buffer = momentum * momentum_buffer + g / root;
      p = p - lr * momentum_buffer;
    } else {
      p = p - lr * g / root;
    }
  }
};

// Zeiler 2012, as in torch: eps is inside both roots, which combine into the root of a quotient.
template <class T, unsigned Flags>
struct Adadelta {
  static constexpr const char* kName = "adadelta";
  static constexpr ScalarNames kScalars{{"lr", "rho", "eps"}};
  static constexpr FlagNames kFlags{};
  static constexpr States kStates{
      {{"square_avg", Content::square}, {"acc_delta", Content::square}}};

  struct Scalars {
    double lr, rho, eps;
  };
  T lr, rho, weight, eps;

  FUSEDSTEP_HD Adadelta(const Scalars& s, std::int64_t)
      : lr(T(s.lr)), rho(T(s.rho)), weight(T(1.0 - s.rho)), eps(T(s.eps)) {}

  FUSEDSTEP_HD void operator()(T& p, T g, T& square_avg, T& acc_delta) const {
    square_avg = rho * square_avg + weight * (g * g);
    const T delta = square_root((acc_delta + eps) / (square_avg + eps)) * g;
    acc_delta = rho * acc_delta + weight * (delta * delta);
    p = p - lr * delta;
  }
};

using AdagradFamily = RuleList<Adagrad, RowwiseAdagrad, RMSprop, Adadelta>;

}  // namespace fusedstep
