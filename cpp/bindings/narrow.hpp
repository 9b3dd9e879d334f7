// Options that are finite and nonzero in double but not in float32, where they would make
// parameters NaN.
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
};

// The first number of a group that float32 cannot represent. A rate or decay may underflow, since
// it then does nothing; a divisor or a clipping limit may not.
inline std::optional<Misfit> misfit_of(const RuleInfo& rule, const Group& group) {
  for (std::size_t i = 0; i < rule.scalars.size(); ++i) {
    const double number = group.scalars[i];
    const char* const name = rule.scalars.name[i];
    if (overflows(number) || (vanishes(number) && std::strncmp(name, "eps", 3) == 0))
      return Misfit{name, number};
  }
  if (overflows(group.weight_decay)) return Misfit{"weight_decay", group.weight_decay};
  if (vanishes(group.max_value)) return Misfit{"max_grad_value", group.max_value};
  return std::nullopt;
}

inline std::optional<Misfit> misfit_of(const std::vector<double>& weights, double divisor) {
  for (std::size_t k = 0; k < weights.size(); ++k)
    if (overflows(weights[k]) || vanishes(weights[k]))
      return Misfit{"weights[" + std::to_string(k) + "]", weights[k]};
  if (overflows(divisor)) return Misfit{"sum of weights", divisor};
  return std::nullopt;
}

// Throws if a tensor that `takes_part` is float32.
template <class TakesPart>
void refuse_misfit(const Misfit& misfit, const std::vector<Tensor>& tensors, TakesPart takes_part) {
  for (const Tensor& tensor : tensors)
    if (tensor.compute() == Compute::float32 && takes_part(tensor))
      refuse(PyExc_ValueError, {"", misfit.option},
             "a number that float32 can hold, since parameter '" + tensor.name + "' is float32",
             text_of(py::float_(misfit.value)));
}

}  // namespace fusedstep::bindings
