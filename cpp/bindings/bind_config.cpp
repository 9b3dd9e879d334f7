#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "engine/dispatch.hpp"
#include "engine/registry.hpp"
#include "messages.hpp"
#include "module.hpp"
#include "threads/parallel.hpp"

namespace py = pybind11;

namespace fusedstep::bindings {
namespace {

template <class List>
std::vector<std::string> names(const List& list) {
  return {list.name, list.name + list.size()};
}

std::vector<std::vector<std::string>> state_names(const RuleInfo& info) {
  std::vector<std::vector<std::string>> variants;
  for (std::size_t v = 0; v < info.variants; ++v) {
    variants.emplace_back();
    for (std::size_t k = 0; k < info.states[v].size(); ++k)
      if (info.states[v].state[k].used) variants.back().push_back(info.states[v].state[k].name);
  }
  return variants;
}

const char* name_of(Content content) {
  switch (content) {
    case Content::exact:
      return "exact";
    case Content::number:
      return "number";
    case Content::average:
      return "average";
    case Content::square:
      return "square";
  }
  return "";
}

// What the states of `state_names` hold.
std::vector<std::vector<std::string>> state_contents(const RuleInfo& info) {
  std::vector<std::vector<std::string>> variants;
  for (std::size_t v = 0; v < info.variants; ++v) {
    variants.emplace_back();
    for (std::size_t k = 0; k < info.states[v].size(); ++k)
      if (const State& state = info.states[v].state[k]; state.used)
        variants.back().push_back(name_of(state.content));
  }
  return variants;
}

py::typing::Dict<py::str, RuleInfo> rules() {
  py::dict result;
  for (const RuleInfo& rule : registry())
    result[rule.name] = py::cast(&rule, py::return_value_policy::reference);
  return result;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> list;
  for (const KernelTable* table : available_tables()) list.push_back(table->isa);
  return list;
}

std::string compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#elif defined(__GNUC__)
  return "GCC " __VERSION__;
#else
  return "unknown";
#endif
}

// An invalid FUSEDSTEP_ variable fails the import, not a later step.
void check_environment() {
  try {
    current_table();
    requested_threads();
    threading();
  } catch (const std::invalid_argument& invalid) {
    const std::string text = invalid.what();  // perhaps not UTF-8
    throw py::import_error(
        printable(py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(
                      text.data(), static_cast<py::ssize_t>(text.size()), "backslashreplace")),
                  300));
  }
}

}  // namespace

void bind_config(py::module_& m) {
  py::class_<RuleInfo>(m, "RuleInfo", "A rule as the compiled registry describes it.")
      .def_property_readonly("name", [](const RuleInfo& r) { return std::string(r.name); })
      .def_property_readonly(
          "scalars", [](const RuleInfo& r) { return names(r.scalars); },
          "The numbers that the rule reads each step, in order.")
      .def_property_readonly(
          "flags", [](const RuleInfo& r) { return names(r.flags); },
          "The options compiled in; bit i of a variant is flags[i].")
      .def_property_readonly(
          "layerwise", [](const RuleInfo& r) { return r.layerwise; },
          "Whether its steps depend on norms over a whole array.")
      .def_property_readonly(
          "rowwise", [](const RuleInfo& r) { return r.rowwise; },
          "Whether each of its states has one number per row.")
      .def_property_readonly("states", &state_names, "The names of the state, by variant.")
      .def_property_readonly(
          "contents", &state_contents,
          "What each of these holds, which decides how narrow it may be stored: 'exact' (not at "
          "all), 'number' (bfloat16), 'average' or 'square' (8 bits).");

  m.def("rules", &rules, "Every compiled rule by its name.");
  m.def("available_isas", &available_isas,
        "The instruction sets that this CPU supports, in ascending order.");
  m.def(
      "isa", [] { return std::string(current_table().isa); },
      "The instruction set that steps run on.");
  m.def(
      "use_isa", [](const std::string& name) { use_isa(name); }, py::arg("name"),
      "Runs later steps on another instruction set; for tests and benchmarks.");
  m.def("thread_limit", &thread_limit, "The most threads that a step uses.");
  m.def("requested_threads", &requested_threads, "The limit that was asked for, 0 for none.");
  m.def("set_thread_limit", &set_thread_limit, py::arg("n"),
        "Limits the threads of a step; 0 restores the default.");
  m.def("has_openmp", &has_openmp, "Whether the build has OpenMP as a source of threads.");
  m.def("threading", &threading, "Where threads come from: 'pool' or 'openmp'.");
  m.def("compiler", &compiler, "The compiler that built the core.");

  check_environment();
}

}  // namespace fusedstep::bindings
