// The Python face of an engine.
#pragma once

#include "py_stepper.hpp"

namespace fusedstep::bindings {

// The methods common to the steppers of all spaces.
template <class Bound, class Class>
void bind_methods(Class& c) {
  using Argument = typename Bound::ScaleArgument;
  const auto assignments = py::arg_v("assignments", Assignments());
  c.def("add", &Bound::add, py::arg("groups"), py::arg("tensors"), assignments)
      .def_property_readonly("tensor_count", &Bound::tensor_count)
      .def("set_group", &Bound::set_group, py::arg("index"), py::arg("options"), assignments)
      .def("set_groups", &Bound::set_groups, py::arg("options"), assignments)
      .def("set_rates", &Bound::set_rates, py::arg("groups"), py::arg("rates"), assignments)
      .def("set_policy", &Bound::set_policy, py::arg("skip_nonfinite"),
           py::arg("error_if_nonfinite"), py::arg("clip_per_group"), py::arg("ema_decay"),
           py::arg("seed") = 0)
      .def("bind", &Bound::bind, py::arg("gradients"), assignments)
      .def("step", &Bound::step, py::arg("gradients") = py::none(),
           py::arg("scale") = Argument(py::float_(1.0)), py::arg("zero") = false)
      .def("step_combined", &Bound::step_combined, py::arg("sets"), py::arg("weights"),
           py::arg("divisor"), py::arg("scale") = Argument(py::float_(1.0)),
           py::arg("zero") = false, py::arg("allow_empty") = false)
      .def("step_together", &Bound::step_together, py::arg("gradients"), py::arg("tables"),
           py::arg("scale") = Argument(py::float_(1.0)), py::arg("advances") = true)
      .def("freeze", &Bound::freeze, py::arg("tensors"), py::arg("frozen"), assignments)
      .def("is_frozen", &Bound::is_frozen, py::arg("tensor"))
      .def("set_counters", &Bound::set_counters, py::arg("step_count"), py::arg("steps"))
      .def("hold", &Bound::hold, py::arg("read"), py::arg("params_for") = "")
      .def("restore", &Bound::restore, py::arg("step_count"), py::arg("steps"), py::arg("states"),
           py::arg("params"), py::arg("options"), assignments, py::arg("policy") = py::none(),
           py::arg("frozen") = py::none())
      .def("swap_in", &Bound::swap_in, py::arg("what"), py::arg("why"), py::arg("values"),
           py::arg("written"))
      .def("swap_out", &Bound::swap_out)
      .def("swapped", &Bound::swapped)
      .def("steps_of", &Bound::steps_of, py::arg("tensor"))
      .def_property_readonly("step_count", &Bound::step_count);
}

}  // namespace fusedstep::bindings
