// The options of a group and the specification of a parameter, read from objects of the classes of
// fusedstep/_specs.py by the names of their fields. They are no classes of pybind11, which ends the
// process where memory runs out while an instance is registered.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine/roster.hpp"
#include "formats/rounding.hpp"
#include "messages.hpp"

namespace fusedstep::bindings {

namespace py = pybind11;

struct GroupOptions {
  std::vector<double> scalars;  // in the order of RuleInfo.scalars
  unsigned variant = 0;
  double coupled_weight_decay = 0.0;
  bool maximize = false;
  std::optional<double> max_grad_norm, max_grad_value;
  Rounding rounding = Rounding::nearest;  // of narrow parameters
  unsigned state_bits = 32;               // the fewest that a number of a state may have
};

struct TensorSpec {
  std::string name;  // for messages
  py::object param;
  std::vector<py::object> states;  // in the order of RuleInfo.states
  std::vector<py::object> scales;  // of each; None of one that has none
  std::size_t group = 0;
  py::object average, copy, correction;  // or None
};

inline Group group_of(const RuleInfo& rule, const GroupOptions& options) {
  if (options.scalars.size() != rule.scalars.size() || options.variant >= rule.variants)
    throw std::invalid_argument("options: expected the scalars and a variant of the rule");
  Group group;
  std::copy(options.scalars.begin(), options.scalars.end(), group.scalars.begin());
  group.variant = options.variant;
  group.weight_decay = options.coupled_weight_decay;
  group.maximize = options.maximize;
  group.max_norm = options.max_grad_norm;
  if (options.max_grad_value) group.max_value = *options.max_grad_value;
  group.rounding = options.rounding;
  return group;
}

// A name that is made once, not for each of many parameters; never freed.
inline py::handle interned(const char* name) {
  PyObject* const result = PyUnicode_InternFromString(name);
  if (result == nullptr) throw py::error_already_set();
  return result;
}

inline Rounding rounding_called(const std::string& name) {
  if (name == "nearest") return Rounding::nearest;
  if (name == "stochastic") return Rounding::stochastic;
  if (name == "kahan") return Rounding::kahan;
  if (name == "split") return Rounding::split;
  throw std::invalid_argument("rounding: expected one of the core's");
}

template <class Key, class Field>
void read_field(py::handle object, Key name, Field& field) {
  field = py::cast<Field>(py::object(object.attr(name)));
}

inline void read_spec(py::handle object, TensorSpec& spec) {
  static const py::handle name = interned("name"), param = interned("param"),
                          states = interned("states"), scales = interned("scales"),
                          group = interned("group"), average = interned("average"),
                          copy = interned("copy"), correction = interned("correction");
  Name shown;
  read_field(object, name, shown);
  spec.name = std::move(shown.text);
  read_field(object, param, spec.param);
  read_field(object, states, spec.states);
  read_field(object, scales, spec.scales);
  read_field(object, group, spec.group);
  read_field(object, average, spec.average);
  read_field(object, copy, spec.copy);
  read_field(object, correction, spec.correction);
}

}  // namespace fusedstep::bindings

namespace pybind11::detail {

template <>
struct type_caster<fusedstep::bindings::GroupOptions> {
  PYBIND11_TYPE_CASTER(fusedstep::bindings::GroupOptions,
                       const_name("fusedstep._specs.GroupOptions"));
  bool load(handle from, bool) {
    using fusedstep::bindings::read_field;
    read_field(from, "scalars", value.scalars);
    read_field(from, "variant", value.variant);
    read_field(from, "coupled_weight_decay", value.coupled_weight_decay);
    read_field(from, "maximize", value.maximize);
    read_field(from, "max_grad_norm", value.max_grad_norm);
    read_field(from, "max_grad_value", value.max_grad_value);
    std::string rounding;
    read_field(from, "rounding", rounding);
    value.rounding = fusedstep::bindings::rounding_called(rounding);
    read_field(from, "state_bits", value.state_bits);
    return true;
  }
};

template <>
struct type_caster<fusedstep::bindings::TensorSpec> {
  PYBIND11_TYPE_CASTER(fusedstep::bindings::TensorSpec, const_name("fusedstep._specs.TensorSpec"));
  bool load(handle from, bool) {
    fusedstep::bindings::read_spec(from, value);
    return true;
  }
};

}  // namespace pybind11::detail
