// What Python keeps of a change that the core makes: attributes that the core sets in the same
// breath. No bytecode runs in between, so neither Ctrl-C nor another thread tells the two apart.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <tuple>
#include <vector>

namespace fusedstep::bindings {

namespace py = pybind11;

using Assignments = std::vector<std::tuple<py::object, py::str, py::object>>;  // of what, name, to

// Of objects of plain classes, which only lack of memory can refuse.
inline void assign_all(const Assignments& assignments) {
  for (const auto& [object, name, value] : assignments)
    if (PyObject_SetAttr(object.ptr(), name.ptr(), value.ptr()) != 0) throw py::error_already_set();
}

}  // namespace fusedstep::bindings
