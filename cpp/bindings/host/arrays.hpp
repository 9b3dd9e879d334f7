// Checked arrays in the memory of the CPU.
#pragma once

#include "bindings/check.hpp"

namespace fusedstep::bindings {

// `owner` is a NumPy array, though not a py::array, whose default is an array of its own; that of a
// gradient of torch is its parameter's, which has the same shape.
struct HostArray : CheckedArray {
  py::object descr;      // its dtype
  std::size_t rows = 1;  // along the first axis

  HostArray() = default;
  HostArray(Description&& description, Format format);

  py::array array() const { return py::reinterpret_borrow<py::array>(owner); }
};

// An array of numbers that kernels run over; writeable where it is updated in place.
HostArray check_numbers(py::handle object, const Subject& subject, bool writeable);

// An array that is read or updated beside `target`: as expected, in its shape and order.
HostArray check_like(py::handle object, const HostArray& target, Expected expected,
                     const Subject& subject);

// What arrays of `size` elements beside `param` are held against: not to be read.
HostArray one_axis(const HostArray& param, std::size_t size);

// That of the states of a row-wise rule, one number a row. Throws where the rows of `param` are not
// in C order; `what_for` is for the message.
HostArray one_a_row(const HostArray& param, const Subject& subject, const std::string& what_for);

// As the array is now: its owner may have reshaped it.
Model model_of(const HostArray& array);

// check_like() for what nearly always comes, and is only read: a plain NumPy array with the
// target's own dtype object, shape and order, or what describes itself in C as such an array.
// False: ask check_like().
bool take_matching(py::handle object, const HostArray& target, const Acquaintance& known,
                   HostArray& out);

// Whether its memory can be taken away: that of a view by NumPy cannot.
bool is_movable(const HostArray& checked);

// check_unchanged() takes a reshaped array as it is, since its elements are where they were; its
// rows may not be.
void check_rows_unchanged(const HostArray& checked, const Subject& subject);

// Whether only foreign code knows where the array's memory is now.
inline bool must_be_asked(const HostArray& checked) { return checked.source && !checked.look; }
// Throws if the source of such an array says that its memory is elsewhere by now. What its export
// holds stays alive in any case.
void ask(const HostArray& checked, const Subject& subject);

// Whether a tensor of torch is where it was, as it was.
bool is_unmoved(const HostArray& checked);

// Of an array in neither C nor Fortran order, of which NumPy's flags do not say it.
bool has_no_gaps(const HostArray& checked);

// Whether a NumPy array is as it was. Every step asks this of every array, so it reads NumPy's
// struct itself (as pybind11 declares it).
inline bool is_unchanged(const HostArray& checked, bool writeable) {
  const auto* const array = py::detail::array_proxy(checked.owner.ptr());
  std::size_t size = 1;
  for (int i = 0; i < array->nd; ++i) size *= static_cast<std::size_t>(array->dimensions[i]);
  const int unlocked = writeable ? py::detail::npy_api::NPY_ARRAY_WRITEABLE_ : 0;
  return array->data == checked.data && array->descr == checked.descr.ptr() &&
         size == checked.size &&
         (array->flags & (kOrders | unlocked)) == (checked.order | unlocked) &&
         (checked.order != 0 || has_no_gaps(checked));
}

// Throws where an array was reallocated, reshaped to another size, retyped or locked since it was
// checked: all that its owner can still do to it. Calls no foreign code: what must be asked was.
inline void check_unchanged(const HostArray& checked, const Subject& subject, bool writeable) {
  if (checked.look != nullptr) {
    if (!is_unmoved(checked)) refuse_changed(subject);
  } else if (!is_unchanged(checked, writeable)) {
    if (is_unchanged(checked, false)) refuse_read_only(subject);
    refuse_changed(subject);
  }
}

}  // namespace fusedstep::bindings
