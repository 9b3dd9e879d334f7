// Options that a format cannot represent, or that are 0 or infinite once the rule has scaled them:
// they would make parameters NaN.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>

#include "engine/roster.hpp"
#include "messages.hpp"

namespace fusedstep::bindings {

inline bool overflows(double number) { return std::abs(number) > FLT_MAX; }
inline bool vanishes(double number) {  // half of float32's least subnormal rounds to 0
  return number != 0.0 && std::abs(number) <= 0.5 * FLT_TRUE_MIN;
}

struct Misfit {
  std::string option;
  double value;
  const char* when = "";  // after "a number that float32 can hold"
};

inline bool is_divisor(const char* scalar) { return std::strncmp(scalar, "eps", 3) == 0; }

// The first number of a group that float32 cannot represent. A rate or decay may underflow, since
// it then does nothing; a divisor or a clipping limit may not.
inline std::optional<Misfit> misfit_of(const RuleInfo& rule, const Group& group) {
  for (std::size_t i = 0; i < rule.scalars.size(); ++i) {
    const double number = group.scalars[i];
    const char* const name = rule.scalars.name[i];
    if (overflows(number) || (vanishes(number) && is_divisor(name))) return Misfit{name, number};
  }
  if (overflows(group.weight_decay)) return Misfit{"weight_decay", group.weight_decay};
  if (vanishes(group.max_value)) return Misfit{"max_grad_value", group.max_value};
  return std::nullopt;
}

// An option without which the rule would be steady (RuleInfo::is_steady), a divisor if it is one. A
// divisor of 0 is for those who know that no gradient is.
inline std::optional<Misfit> misfit_when_scaled(const RuleInfo& rule, const Group& group,
                                                Compute compute) {
  const auto is_steady = rule.is_steady[group.variant][static_cast<std::size_t>(compute)];
  if (is_steady(group.scalars.data())) return std::nullopt;
  for (std::size_t i = 0; i < rule.scalars.size(); ++i)
    if (is_divisor(rule.scalars.name[i]) && group.scalars[i] == 0.0) return std::nullopt;
  for (const bool divisors : {true, false})
    for (std::size_t i = 0; i < rule.scalars.size(); ++i) {
      if (is_divisor(rule.scalars.name[i]) != divisors) continue;
      std::array<double, kMaxScalars> others = group.scalars;
      others[i] = divisors ? 1.0 : 0.0;
      if (is_steady(others.data()))
        return Misfit{rule.scalars.name[i], group.scalars[i], " once the rule has scaled it"};
    }
  return std::nullopt;  // several at once
}

inline std::optional<Misfit> misfit_of(const std::vector<double>& weights, double divisor) {
  for (std::size_t k = 0; k < weights.size(); ++k)
    if (overflows(weights[k]) || vanishes(weights[k]))
      return Misfit{"weights[" + std::to_string(k) + "]", weights[k]};
  if (overflows(divisor)) return Misfit{"sum of weights", divisor};
  return std::nullopt;
}

// Throws if a tensor of this type that `takes_part` cannot do with the option.
template <class TakesPart>
void refuse_misfit(const Misfit& misfit, Compute compute, const std::vector<Tensor>& tensors,
                   TakesPart takes_part) {
  for (const Tensor& tensor : tensors) {
    if (tensor.compute() != compute || !takes_part(tensor)) continue;
    const std::string computed_in = compute == Compute::float32 ? "float32" : "float64";
    refuse(PyExc_ValueError, {"", misfit.option},
           "a number that " + computed_in + " can hold" + misfit.when + ", since parameter '" +
               tensor.name + "' is " + name_of(tensor.format()),
           text_of(py::float_(misfit.value)));
  }
}

}  // namespace fusedstep::bindings
