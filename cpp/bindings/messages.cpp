#include "messages.hpp"

#include <algorithm>

namespace fusedstep::bindings {

void refuse(PyObject* error, const Subject& subject, const std::string& expected,
            const std::string& came) {
  PyErr_SetString(error, (subject.text() + ": expected " + expected + ", got " + came).c_str());
  throw py::error_already_set();
}

namespace {

bool is_plain(const char* text, std::size_t size) {
  return std::all_of(text, text + size, [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace

std::string printable(py::handle text, py::ssize_t width) {
  if (PyUnicode_IS_ASCII(text.ptr()) && PyUnicode_GET_LENGTH(text.ptr()) <= width) {
    py::ssize_t size = 0;
    const char* const bytes = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
    if (is_plain(bytes, static_cast<std::size_t>(size)))
      return {bytes, static_cast<std::size_t>(size)};
  }
  py::object shown = py::reinterpret_borrow<py::object>(text);
  if (!py::cast<bool>(shown.attr("isprintable")())) shown = py::repr(shown)[py::slice(1, -1, 1)];
  const auto length = static_cast<py::ssize_t>(py::len(shown));
  if (length <= width) return py::cast<std::string>(shown);
  const py::ssize_t tail = width / 3;
  const auto part = [&](py::ssize_t from, py::ssize_t to) {
    return py::cast<std::string>(py::object(shown[py::slice(from, to, 1)]));
  };
  return part(0, width - tail - 3) + "..." + part(length - tail, length);
}

std::string text_of(py::handle object) {
  const py::object words = py::str(object).attr("split")();
  return printable(py::str(" ").attr("join")(words), 300);
}

std::string type_name(py::handle object) {
  return printable(py::type::handle_of(object).attr("__name__"));
}

}  // namespace fusedstep::bindings
