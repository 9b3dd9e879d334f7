// One binding function per topic.
#pragma once

#include <pybind11/pybind11.h>

namespace fusedstep::bindings {

void bind_config(pybind11::module_& m);
void bind_memory(pybind11::module_& m);
void bind_stepper(pybind11::module_& m);

}  // namespace fusedstep::bindings
