#include "host_space.hpp"
#include "module.hpp"
#include "py_stepper.hpp"

namespace fusedstep::bindings {

void bind_stepper(py::module_& m) {
  using Bound = PyStepper<HostSpace>;
  py::class_<Bound> c(m, "Stepper", "Parameters, their state and their counters under one rule.");
  bind_methods<Bound>(c);
}

}  // namespace fusedstep::bindings
