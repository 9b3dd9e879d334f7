// What may be handed to a kernel. Every refusal names the array, what was expected and what came.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>

#include "dlpack.hpp"
#include "engine/memory.hpp"
#include "kernel/kernel_table.hpp"
#include "messages.hpp"

namespace fusedstep::bindings {

constexpr int kOrders = py::array::c_style | py::array::f_style;

// An array that passed the checks, with all that a later step needs to see that it has not changed.
struct CheckedArray {
  py::object owner;   // the NumPy array; not a py::array, whose default is an array of its own
  py::object source;  // what it is a view of, where it came through DLPack
  py::object descr;   // its dtype
  bool described =
      false;  // `source` was not viewed, but says that it is like `owner`, its target's
  void* data = nullptr;
  std::size_t size = 0;
  std::size_t item = 0;                // bytes of one element
  Format dtype = Format::float32;      // not of working copies
  std::uint8_t code = dlpack::kFloat;  // DLPack's for what `source` holds
  int order = 0;                       // NumPy's flags of C and Fortran order
  std::size_t rows = 1;                // along the first axis

  py::array array() const { return py::reinterpret_borrow<py::array>(owner); }
  Array stored() const { return {data, nullptr, dtype}; }
  Extent extent() const { return {data, size * item}; }
};

// A NumPy array as it is, or a view of what speaks DLPack on the CPU, gradients of its own or not.
// Never a copy.
py::array as_array(py::handle object, const Subject& subject);

// An array of numbers that kernels run over: float32 or float64, native, contiguous, aligned, and
// writeable where it is updated in place.
CheckedArray check_numbers(py::handle object, const Subject& subject, bool writeable);

// An array that is read beside `target` (or, with `writeable`, updated beside it): the same dtype,
// shape and order.
CheckedArray check_companion(py::handle object, const CheckedArray& target, const Subject& subject,
                             bool writeable);

// What the states of a row-wise rule, one number a row, are held against: not to be read. Throws
// where the rows of `param` are not in C order; `what_for` is for the message.
CheckedArray one_a_row(const CheckedArray& param, const Subject& subject,
                       const std::string& what_for);
[[noreturn]] void refuse_rows(const CheckedArray& param, const Subject& subject,
                              const std::string& what_for);

// An array of bfloat16, or of the same bits as uint16, in the target's shape and order: the working
// copy of a float32 parameter.
CheckedArray check_copy(py::handle object, const CheckedArray& target, const Subject& subject);

// check_companion() for what nearly always comes, and is only read: a plain NumPy array with the
// target's own dtype object, shape and order, or what describes itself in C as such an array.
// False: ask check_companion().
bool take_twin(py::handle object, const CheckedArray& target, CheckedArray& out);

// check_unchanged() takes a reshaped array as it is, since its elements are where they were; its
// rows may not be.
void check_rows_unchanged(const CheckedArray& checked, const Subject& subject);

// What is_unchanged() does not find in NumPy's struct: throws what has changed. A view through
// DLPack stays as it is, so it is asked of its source.
void check_slowly(const CheckedArray& checked, const Subject& subject, bool writeable);

// Whether a plain NumPy array is as it was. Every step asks this of every array, so it reads
// NumPy's struct itself (as pybind11 declares it).
inline bool is_unchanged(const CheckedArray& checked, bool writeable) {
  const auto* const array = py::detail::array_proxy(checked.owner.ptr());
  std::size_t size = 1;
  for (int i = 0; i < array->nd; ++i) size *= static_cast<std::size_t>(array->dimensions[i]);
  const int locked = writeable ? py::detail::npy_api::NPY_ARRAY_WRITEABLE_ & ~array->flags : 0;
  return array->data == checked.data && array->descr == checked.descr.ptr() &&
         size == checked.size && (array->flags & kOrders) == checked.order && locked == 0;
}

// Throws where an array was reallocated, reshaped to another size, retyped or locked since it was
// checked: all that its owner can still do to it.
inline void check_unchanged(const CheckedArray& checked, const Subject& subject, bool writeable) {
  if (checked.source || !is_unchanged(checked, writeable))
    check_slowly(checked, subject, writeable);
}

}  // namespace fusedstep::bindings
