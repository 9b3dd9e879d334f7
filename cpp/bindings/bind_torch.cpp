// What fusedstep.torch asks at every step: torch lets anybody change an optimizer's groups and
// state at any time, so each step looks whether they are what the core was given, in C, where a
// tensor costs a few nanoseconds.
#include <cstddef>

#include "module.hpp"

namespace py = pybind11;

namespace fusedstep::bindings {
namespace {

// Whether the parameters of all groups are `params`, one after the other.
bool hold(const py::list& groups, const py::list& params) {
  std::size_t count = 0;
  for (const py::handle group : groups) {
    if (!PyDict_Check(group.ptr())) return false;
    PyObject* const own = PyDict_GetItemString(group.ptr(), "params");
    if (own == nullptr || !PyList_Check(own)) return false;
    const auto size = static_cast<std::size_t>(PyList_GET_SIZE(own));
    if (count + size > params.size()) return false;
    for (std::size_t i = 0; i < size; ++i, ++count)
      if (PyList_GET_ITEM(own, py::ssize_t(i)) != PyList_GET_ITEM(params.ptr(), py::ssize_t(count)))
        return false;
  }
  return count == params.size();
}

// Whether the values of `own` are those of the tuple, in order.
bool holds_values(PyObject* own, PyObject* values) {
  if (!PyDict_Check(own) || PyDict_Size(own) != PyTuple_GET_SIZE(values)) return false;
  py::ssize_t position = 0;
  PyObject *key, *value;
  for (py::ssize_t i = 0; PyDict_Next(own, &position, &key, &value) != 0; ++i)
    if (value != PyTuple_GET_ITEM(values, i)) return false;
  return true;
}

// Whether the entries of `state` are those that were seen: (entry, its values) each.
bool is_as_seen(const py::dict& state, const py::list& seen) {
  if (state.size() != seen.size()) return false;
  py::ssize_t position = 0;
  PyObject *key, *entry;
  for (py::ssize_t i = 0; PyDict_Next(state.ptr(), &position, &key, &entry) != 0; ++i) {
    PyObject* const pair = PyList_GET_ITEM(seen.ptr(), i);
    if (entry != PyTuple_GET_ITEM(pair, 0) || !holds_values(entry, PyTuple_GET_ITEM(pair, 1)))
      return false;
  }
  return true;
}

using List = py::typing::List<py::object>;
using Dict = py::typing::Dict<py::object, py::object>;

py::object gradients_of(const List& groups, const Dict& state, const List& params,
                        const List& seen) {
  if (!hold(groups, params) || !is_as_seen(state, seen)) return py::none();
  static PyObject* const name = PyUnicode_InternFromString("grad");
  const py::tuple kept(params);  // attributes are anybody's code
  py::list result(kept.size());
  for (std::size_t i = 0; i < kept.size(); ++i) {
    PyObject* const grad = PyObject_GetAttr(PyTuple_GET_ITEM(kept.ptr(), py::ssize_t(i)), name);
    if (grad == nullptr) throw py::error_already_set();
    PyList_SET_ITEM(result.ptr(), py::ssize_t(i), grad);
  }
  return std::move(result);
}

}  // namespace

void bind_torch(py::module_& m) {
  m.def("gradients_of", &gradients_of, py::arg("groups"), py::arg("state"), py::arg("params"),
        py::arg("seen"),
        "The gradients of `params`; None unless they are the parameters of the groups, in order, "
        "and the entries of the state and their values those that were seen.");
}

}  // namespace fusedstep::bindings
