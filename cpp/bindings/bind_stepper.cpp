#include <algorithm>

#include "host_space.hpp"
#include "module.hpp"
#include "py_stepper.hpp"

namespace fusedstep::bindings {

// What `None in objects` does where no object has a say in it: torch's tensors compare elements.
static bool has_none(const py::object& objects) {
  const auto items =
      py::reinterpret_steal<py::object>(PySequence_Fast(objects.ptr(), "a sequence"));
  if (!items) throw py::error_already_set();
  PyObject* const* const first = PySequence_Fast_ITEMS(items.ptr());
  PyObject* const* const last = first + PySequence_Fast_GET_SIZE(items.ptr());
  return std::find(first, last, Py_None) != last;
}

void bind_stepper(py::module_& m) {
  using Bound = PyStepper<HostSpace>;
  py::class_<Bound> c(m, "Stepper", "Parameters, their state and their counters under one rule.");
  c.def(py::init<const std::string&, std::string, std::string>(), py::arg("rule"),
        py::arg("gradient") = "gradient of", py::arg("like") = "its parameter");
  bind_methods<Bound>(c);
  m.def("has_none", &has_none, py::arg("objects"), "Whether None is among the objects of a list.");
}

}  // namespace fusedstep::bindings
