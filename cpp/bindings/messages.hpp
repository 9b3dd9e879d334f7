// How messages call an array, what they show of what came from outside, and the one form in which
// arrays are refused.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

namespace fusedstep::bindings {

namespace py = pybind11;

constexpr const char* kInUse = "the optimizer is in use by another call";

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

// A str in characters that print, the others escaped: lone surrogates, which UTF-8 does not have,
// and NUL, which ends a message. Of a long one both ends.
std::string printable(py::handle text, py::ssize_t width = 100);
// The same of str(object), in one line.
std::string text_of(py::handle object);
std::string type_name(py::handle object);

// The name of an array, only for messages: printable.
struct Name {
  std::string text;
};

}  // namespace fusedstep::bindings

namespace pybind11::detail {

template <>
struct type_caster<fusedstep::bindings::Name> {
  PYBIND11_TYPE_CASTER(fusedstep::bindings::Name, const_name("str"));
  bool load(handle from, bool) {
    if (!isinstance<str>(from)) return false;
    value.text = fusedstep::bindings::printable(from);
    return true;
  }
};

}  // namespace pybind11::detail
