// What may be handed to a kernel. Every refusal names the array, what was expected and what came.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <string>

#include "../kernel_table.hpp"
#include "../memory.hpp"

namespace fusedstep::bindings {

namespace py = pybind11;

// An array that passed the checks, with all that a later step needs to see that it has not changed.
struct CheckedArray {
  py::object owner;   // the NumPy array; not a py::array, whose default is an array of its own
  py::object source;  // what it is a view of, where it came through DLPack
  py::object descr;   // its dtype
  void* data = nullptr;
  std::size_t size = 0;
  DType dtype = DType::float32;
  int order = 0;  // NumPy's flags of C and Fortran order

  py::array array() const { return py::reinterpret_borrow<py::array>(owner); }
  Extent extent() const { return {data, size * item_size(dtype)}; }
};

// How messages call an array, put together only where there is something to say.
struct Subject {
  const char* role;  // "parameter", "gradient of", "state of"
  const std::string& name;
  const char* like = "its parameter";  // what a companion must resemble
  std::string text() const { return std::string(role) + " '" + name + "'"; }
};

// A NumPy array as it is, or a view of what speaks DLPack on the CPU. Never a copy.
py::array as_array(py::handle object, const Subject& subject);

// An array of numbers that kernels run over: float32 or float64, native, contiguous, aligned, and
// writeable where it is updated in place.
CheckedArray check_numbers(py::handle object, const Subject& subject, bool writeable);

// An array that is read beside `target` (or, with `writeable`, updated beside it): the same dtype,
// shape and order.
CheckedArray check_companion(py::handle object, const CheckedArray& target, const Subject& subject,
                             bool writeable);

// Throws where an array was reallocated, reshaped to another size, retyped or locked since it was
// checked: all that its owner can still do to it.
void check_unchanged(const CheckedArray& checked, const Subject& subject, bool writeable);

}  // namespace fusedstep::bindings
