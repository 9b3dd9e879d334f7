#include "check.hpp"

#include <utility>

#include "exchange.hpp"

namespace fusedstep::bindings {
namespace {

// For messages: the caller decides about a copy and its rounding. Empty where nobody knows.
std::string how_to_convert(const Description& array, Format to) {
  if (array.is_on_device() || array.source)
    return is_torch(array.source ? array.source : array.owner)
               ? std::string(": use .to(torch.") + name_of(to) + ")"
               : "";
  return std::string(": use .astype(np.") + name_of(to) + ")";
}

// The same, of an array that should be in C order.
std::string how_to_order(const Description& array) {
  const bool is_tensor = is_torch(array.source ? array.source : array.owner);
  return is_tensor ? ": use .contiguous()" : "";
}

[[noreturn]] void refuse_dtype(const Description& array, const Expected& expected,
                               const Subject& subject) {
  const std::string dtype = "dtype " + formats_text(expected.formats, expected.as_bits);
  if (expected.like == nullptr) refuse(PyExc_TypeError, subject, dtype, array.dtype_text());
  const Format model = expected.like->format, native = native_of(compute_of(model));
  const std::string beside = expected.formats.are_only(model)
                                 ? std::string(" like ") + subject.like
                                 : std::string(" beside ") + subject.like + " of " + name_of(model);
  refuse(PyExc_TypeError, subject, dtype + beside,
         array.dtype_text() + (expected.formats.has(native) ? how_to_convert(array, native) : ""));
}

void check_memory(const Description& array, const Subject& subject) {
  if (array.size() == 0) return;
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(array.data) % array.item;
  if (offset != 0)
    refuse(PyExc_ValueError, subject,
           "an aligned array (address divisible by " + std::to_string(array.item) + ")",
           "an address " + std::to_string(offset) + " bytes off");
  if (array.data == nullptr)
    refuse(PyExc_ValueError, subject,
           array.is_on_device() ? "memory on a CUDA device" : "memory on the CPU",
           array.layout_text() + " without memory (has its storage been freed?)");
}

}  // namespace

Form::Form(const Description& description, Format format_of_it)
    : size(description.size()),
      item(description.item),
      format(format_of_it),
      code(dlpack_code(description.dtype)),
      order(description.order) {}

CheckedArray::CheckedArray(Description&& description, Format format_of_it)
    : Form(description, format_of_it),
      owner(std::move(description.owner)),
      source(std::move(description.source)),
      look(description.look),
      data(description.data) {}

Format check_array(const Description& array, const Expected& expected, const Subject& subject) {
  const Model* const like = expected.like;
  if (like != nullptr && is_elsewhere(array.device, like->device))
    refuse_device(array.device, like->device, subject.like, subject);
  const std::optional<Format> format =
      format_called(array.dtype, expected.formats, expected.as_bits, array.is_on_device());
  if (!format) refuse_dtype(array, expected, subject);
  if (!array.is_native)
    refuse(PyExc_ValueError, subject, "native byte order", "dtype " + array.dtype_text());
  if (like != nullptr && array.shape != like->shape)
    refuse(PyExc_ValueError, subject, "shape " + tuple_text(like->shape) + " like " + subject.like,
           tuple_text(array.shape));
  if (expected.writeable && !array.is_writeable) refuse_read_only(subject);
  if (like == nullptr &&
      !is_dense(array.shape.data(), array.strides.data(), array.shape.size(), array.item))
    refuse(PyExc_ValueError, subject, "a contiguous array (its axes in any order)",
           array.layout_text());
  if (like != nullptr &&
      !are_alike(array.shape, array.strides, array.item, like->strides, like->item))
    refuse(
        PyExc_ValueError, subject,
        order_text(like->shape, dense_strides(like->shape, like->strides, array.item), array.item) +
            " like " + subject.like,
        array.layout_text() + ((like->order & kC) != 0 ? how_to_order(array) : ""));
  check_memory(array, subject);
  return *format;
}

void check_takes_copy(Format param, const Subject& subject) {
  if (param != Format::float32)
    refuse(PyExc_TypeError, subject, "a float32 parameter",
           std::string("one of ") + name_of(param));
}

void refuse_device(int device, int expected, const std::string& like, const Subject& subject) {
  refuse(PyExc_ValueError, subject, "memory on " + device_text(expected) + " like " + like,
         "memory on " + device_text(device));
}

void refuse_rows(const Model& param, const Subject& subject, const std::string& what_for) {
  refuse(PyExc_ValueError, subject, "an array of rows in C order for " + what_for,
         "shape " + tuple_text(param.shape) +
             ((param.order & kC) != 0         ? ""
              : (param.order & kFortran) != 0 ? " in Fortran order"
                                              : " with strides " + tuple_text(param.strides)));
}

void refuse_read_only(const Subject& subject) {
  refuse(PyExc_ValueError, subject, "a writeable array", "a read-only one");
}

void refuse_changed(const Subject& subject) {
  const py::object error = py::module_::import("fusedstep._errors").attr("ArrayChangedError");
  refuse(error.ptr(), subject, "the array as it was when it was handed over",
         "one that was resized, retyped or reallocated since");
}

}  // namespace fusedstep::bindings
