// The module, and one binding function per topic.
#pragma once

#include <pybind11/pybind11.h>

namespace fusedstep::bindings {

void bind_config(pybind11::module_& m);
void bind_memory(pybind11::module_& m);
void bind_stepper(pybind11::module_& m);
void bind_torch(pybind11::module_& m);

// From Python 3.12 on pybind11 itself refuses to be imported in a sub-interpreter; before, it would
// wait for ever.
inline bool is_main_interpreter() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return true;
  PyErr_SetString(PyExc_ImportError,
                  "fusedstep: expected the main interpreter, got a sub-interpreter");
  return false;
}

}  // namespace fusedstep::bindings

// PYBIND11_MODULE(name, variable), whose own function is `inner`.
#define FUSEDSTEP_MODULE(name, inner, variable)                                     \
  extern "C" PYBIND11_EXPORT PyObject* PyInit_##inner();                            \
  extern "C" PYBIND11_EXPORT PyObject* PyInit_##name() {                            \
    return fusedstep::bindings::is_main_interpreter() ? PyInit_##inner() : nullptr; \
  }                                                                                 \
  PYBIND11_MODULE(inner, variable)
