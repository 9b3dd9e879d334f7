// Rules that follow the gradient itself, plain or averaged.
#pragma once

#include "rule.hpp"

namespace fusedstep {

// torch.optim.SGD. The first step stores the undampened gradient: on a zeroed buffer, momentum 0
// and weight 1 do the same.
template <class T, unsigned Flags>
struct SGD {
  static constexpr const char* kName = "sgd";
  static constexpr ScalarNames kScalars{{"lr", "momentum", "dampening"}};
  static constexpr FlagNames kFlags{{"momentum", "nesterov"}};
  static constexpr bool kMomentum = Flags & 1, kNesterov = Flags & 2;
  static constexpr States kStates{{{"momentum_buffer", Content::average, kMomentum}}};

  struct Scalars {
    double lr, momentum, dampening;
  };
  T lr, momentum, keep, weight;

  FUSEDSTEP_HD SGD(const Scalars& s, std::int64_t t)
      : lr(T(s.lr)),
        momentum(T(s.momentum)),
        keep(T(t == 1 ? 0.0 : s.momentum)),
        weight(T(t == 1 ? 1.0 : 1.0 - s.dampening)) {}

  FUSEDSTEP_HD void operator()(T& p, T g, T& momentum_buffer) const {
    T d = g;
    if constexpr (kMomentum) {
      momentum_buffer = keep * momentum_buffer + weight * g;
      d = kNesterov ? g + momentum * momentum_buffer : momentum_buffer;
    }
    p = p - lr * d;
  }
};

// Momentum as an exponential moving average of the gradients, starting at 0.
template <class T, unsigned Flags>
struct Momentum {
  static constexpr const char* kName = "momentum";
  static constexpr ScalarNames kScalars{{"lr", "beta"}};
  static constexpr FlagNames kFlags{};
  static constexpr States kStates{{{"momentum_buffer", Content::average}}};

  struct Scalars {
    double lr, beta;
  };
  T lr, beta, weight;

  FUSEDSTEP_HD Momentum(const Scalars& s, std::int64_t)
      : lr(T(s.lr)), beta(T(s.beta)), weight(T(1.0 - s.beta)) {}

  FUSEDSTEP_HD void operator()(T& p, T g, T& momentum_buffer) const {
    momentum_buffer = beta * momentum_buffer + weight * g;
    p = p - lr * momentum_buffer;
  }
};

using SgdFamily = RuleList<SGD, Momentum>;

}  // namespace fusedstep
