#include "module.hpp"

namespace py = pybind11;

FUSEDSTEP_MODULE(_core, _core_itself, m) {
  m.doc() = "The compiled core of fusedstep. Private: use the package's own names.";
  m.attr("__version__") = FUSEDSTEP_VERSION;
  fusedstep::bindings::bind_config(m);
  fusedstep::bindings::bind_memory(m);
  fusedstep::bindings::bind_stepper(m);
  fusedstep::bindings::bind_torch(m);
}
