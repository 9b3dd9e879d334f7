#include "host_space.hpp"
#include "module.hpp"
#include "py_stepper.hpp"

namespace fusedstep::bindings {

void bind_stepper(py::module_& m) {
  using Bound = PyStepper<HostSpace>;
  py::class_<Bound> c(m, "Stepper", "Parameters, their state and their counters under one rule.");
  c.def(py::init<const std::string&, std::string, std::string>(), py::arg("rule"),
        py::arg("gradient") = "gradient of", py::arg("like") = "its parameter");
  bind_methods<Bound>(c);
}

}  // namespace fusedstep::bindings
