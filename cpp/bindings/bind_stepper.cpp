#include <algorithm>

#include "host_space.hpp"
#include "module.hpp"
#include "py_stepper.hpp"
#include "threads/team.hpp"

namespace fusedstep::bindings {

// `None in objects` by identity: torch tensors overload == elementwise.
static bool has_none(const py::object& objects) {
  const auto items =
      py::reinterpret_steal<py::object>(PySequence_Fast(objects.ptr(), "a sequence"));
  if (!items) throw py::error_already_set();
  PyObject* const* const first = PySequence_Fast_ITEMS(items.ptr());
  PyObject* const* const last = first + PySequence_Fast_GET_SIZE(items.ptr());
  return std::find(first, last, Py_None) != last;
}

namespace {

class HostStepper : public PyStepper<HostSpace> {
 public:
  using PyStepper::PyStepper;

  // Allows steps to use the OpenMP threads of the runtime that a library depends on.
  void share_threads(const std::string& library) {
    const Exclusive lock(*this);
    if (use_team_of(library.c_str())) engine_.allow_team();
  }
};

}  // namespace

static void bind_specs(py::module_& m) {
  const py::kw_only named;
  py::class_<GroupOptions>(m, "GroupOptions", "The options of one group, as the rule reads them.")
      .def(py::init([](std::vector<double> scalars, unsigned variant, double coupled_weight_decay,
                       bool maximize, std::optional<double> max_grad_norm,
                       std::optional<double> max_grad_value) {
             return GroupOptions{std::move(scalars), variant,       coupled_weight_decay,
                                 maximize,           max_grad_norm, max_grad_value};
           }),
           named, py::arg("scalars") = std::vector<double>(), py::arg("variant") = 0,
           py::arg("coupled_weight_decay") = 0.0, py::arg("maximize") = false,
           py::arg("max_grad_norm") = py::none(), py::arg("max_grad_value") = py::none())
      .def_readonly("variant", &GroupOptions::variant)
      .def_readonly("coupled_weight_decay", &GroupOptions::coupled_weight_decay);
  py::class_<TensorSpec>(m, "TensorSpec", "One parameter, and what else a step writes for it.")
      .def(py::init([](std::string name, py::object param, std::vector<py::object> states,
                       std::size_t group, py::object average, py::object copy) {
             return TensorSpec{std::move(name), std::move(param),   std::move(states),
                               group,           std::move(average), std::move(copy)};
           }),
           named, py::arg("name"), py::arg("param"), py::arg("states") = std::vector<py::object>(),
           py::arg("group") = 0, py::arg("average") = py::none(), py::arg("copy") = py::none())
      .def_readonly("name", &TensorSpec::name)
      .def_readonly("param", &TensorSpec::param);
}

void bind_stepper(py::module_& m) {
  bind_specs(m);
  using Bound = HostStepper;
  py::class_<Bound> c(m, "Stepper", "Parameters, their state and their counters under one rule.");
  c.def(py::init<const std::string&, std::string, std::string>(), py::arg("rule"),
        py::arg("gradient") = "gradient of", py::arg("like") = "its parameter");
  bind_methods<Bound>(c);
  c.def("share_threads", &Bound::share_threads, py::arg("library"),
        "Allows steps to use the OpenMP threads of a loaded shared library.");
  m.def("has_none", &has_none, py::arg("objects"), "Whether None is among the objects of a list.");
}

}  // namespace fusedstep::bindings
