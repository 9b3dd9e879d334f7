#include <algorithm>

#include "bind_methods.hpp"
#include "block.hpp"
#include "host/space.hpp"
#include "module.hpp"
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
    const Entered lock(*this);
    if (use_team_of(library.c_str())) engine_.allow_team();
  }
};

}  // namespace

void bind_stepper(py::module_& m) {
  using Bound = HostStepper;
  py::class_<Bound> c(m, "Stepper", "Parameters, their state and their counters under one rule.",
                      collected<Bound>());
  c.def(py::init<const std::string&, const std::string&, std::string>(), py::arg("rule"),
        py::arg("gradient") = "gradient", py::arg("target") = "parameter");
  bind_methods<Bound>(c);
  c.def("share_threads", &Bound::share_threads, py::arg("library"),
        "Allows steps to use the OpenMP threads of a loaded shared library.");
  py::class_<Block>(m, "Block", "A context manager of two functions.")
      .def(py::init<Block::Call, Block::Call>(), py::arg("enter"), py::arg("exit"))
      .def("__enter__", &Block::enter)
      .def("__exit__", &Block::exit, py::arg("kind"), py::arg("error"), py::arg("traceback"));
  m.def("has_none", &has_none, py::arg("objects"), "Whether None is among the objects of a list.");
}

}  // namespace fusedstep::bindings
