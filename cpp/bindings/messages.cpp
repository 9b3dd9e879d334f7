#include "messages.hpp"

namespace fusedstep::bindings {

void refuse(PyObject* error, const Subject& subject, const std::string& expected,
            const std::string& came) {
  PyErr_SetString(error, (subject.text() + ": expected " + expected + ", got " + came).c_str());
  throw py::error_already_set();
}

std::string text_of(py::handle object) { return py::cast<std::string>(py::str(object)); }

std::string type_name(py::handle object) {
  return text_of(py::type::handle_of(object).attr("__name__"));
}

}  // namespace fusedstep::bindings
