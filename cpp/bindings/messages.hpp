// How messages call an array, and the one form in which arrays are refused.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

namespace fusedstep::bindings {

namespace py = pybind11;

// Put together only where there is something to say.
struct Subject {
  const char* role;  // "parameter", "gradient of", "state of"; or "", of what has a name of its own
  const std::string& name;
  const char* like = "its parameter";  // what it must be like
  std::string text() const { return *role == 0 ? name : std::string(role) + " '" + name + "'"; }
};

// Throws "<subject>: expected <expected>, got <came>".
[[noreturn]] void refuse(PyObject* error, const Subject& subject, const std::string& expected,
                         const std::string& came);
std::string text_of(py::handle object);
std::string type_name(py::handle object);

}  // namespace fusedstep::bindings
