#include "device_arrays.hpp"

#include <pybind11/stl.h>

#include <algorithm>

namespace fusedstep::bindings {
namespace {

constexpr int kC = py::array::c_style, kF = py::array::f_style;

bool is_contiguous(const DeviceObject& object, bool fortran) {
  const std::size_t n = object.shape.size();
  auto step = static_cast<py::ssize_t>(object.item);
  for (std::size_t k = 0; k < n; ++k) {
    const std::size_t i = fortran ? k : n - 1 - k;
    if (object.shape[i] != 1 && object.strides[i] != step) return false;
    step *= object.shape[i];
  }
  return true;
}

// As NumPy's flags: both for one dimension, for empty arrays, and where no other dimension is > 1.
int order_of(const DeviceObject& object) {
  if (object.size() == 0) return kC | kF;
  return (is_contiguous(object, false) ? kC : 0) | (is_contiguous(object, true) ? kF : 0);
}

void check_writeable(const DeviceObject& object, const Subject& subject) {
  if (!object.writeable) refuse(PyExc_ValueError, subject, "a writeable array", "a read-only one");
}

DeviceArray checked(DeviceObject&& object, py::handle owner, const Subject& subject) {
  DeviceArray result;
  result.size = object.size();
  result.item = object.item;
  result.data = object.data;
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(result.data) % result.item;
  if (result.size != 0 && offset != 0)
    refuse(PyExc_ValueError, subject,
           "an aligned array (address divisible by " + std::to_string(result.item) + ")",
           "an address " + std::to_string(offset) + " bytes off");
  if (result.size != 0 && result.data == nullptr)
    refuse(PyExc_ValueError, subject, "memory on a CUDA device",
           object.layout_text() + " without memory (its storage was let go?)");
  result.owner = py::reinterpret_borrow<py::object>(owner);
  result.source = std::move(object.capsule);
  result.dtype = object.dtype == "float32" ? Format::float32 : Format::float64;
  result.order = order_of(object);
  result.device = result.size == 0 ? -1 : object.device;  // an empty array fits anywhere
  result.origin = object.origin;
  result.writeable = object.writeable;
  result.shape = std::move(object.shape);
  if (result.origin == Origin::torch || result.origin == Origin::cupy) {
    result.own_dtype = owner.attr("dtype");
    result.own_shape = owner.attr("shape");
  }
  return result;
}

bool is_elsewhere(int device, int other) { return device >= 0 && other >= 0 && device != other; }

std::string expected_beside(const DeviceArray& target, const Subject& subject) {
  return "memory on " + device_text(target.device) + " like " + subject.like;
}

DeviceObject read_beside(py::handle object, const DeviceArray& target, const Subject& subject,
                         cuda::Stream stream) {
  const std::string expected = expected_beside(target, subject);
  DeviceObject result = read_object(object, subject, expected, stream);
  if (is_elsewhere(result.device, target.device))
    refuse(PyExc_ValueError, subject, expected, "memory on " + device_text(result.device));
  return result;
}

// In the target's shape and order.
DeviceArray check_layout(DeviceObject&& object, py::handle owner, const DeviceArray& target,
                         const Subject& subject, bool writeable) {
  if (object.shape != target.shape)
    refuse(PyExc_ValueError, subject,
           "shape " + text_of(py::tuple(py::cast(target.shape))) + " like " + subject.like,
           object.shape_text());
  if (writeable) check_writeable(object, subject);
  if ((order_of(object) & target.order) == 0)
    refuse(PyExc_ValueError, subject,
           std::string("a contiguous array in ") + ((target.order & kC) != 0 ? "C" : "Fortran") +
               " order like " + subject.like,
           object.layout_text());
  return checked(std::move(object), owner, subject);
}

// Names that are looked up in every step.
PyObject* interned(const char* name) { return PyUnicode_InternFromString(name); }

py::object get(py::handle object, PyObject* name) {
  return py::reinterpret_steal<py::object>(PyObject_GetAttr(object.ptr(), name));
}

py::object call(py::handle object, PyObject* name) {
  PyObject* const self = object.ptr();
  return py::reinterpret_steal<py::object>(PyObject_VectorcallMethod(name, &self, 1, nullptr));
}

bool is_number(const py::object& number, int value) {
  return number && PyLong_Check(number.ptr()) != 0 && PyLong_AsLong(number.ptr()) == value;
}

bool equal(const py::object& a, const py::object& b) {
  return a && (a.is(b) || PyObject_RichCompareBool(a.ptr(), b.ptr(), Py_EQ) == 1);
}

// The same of what is described in C.
bool is_twin(const dlpack::Tensor& tensor, const DeviceArray& target) {
  return tensor.device_type == dlpack::kCUDA && tensor.device_id == target.device &&
         dlpack::has_form(tensor, dlpack::kFloat, target.item, target.shape.data(),
                          target.shape.size(), (target.order & kC) == 0);
}

bool is_torch_twin(py::handle object, const DeviceArray& target) {
  static PyObject *const dtype = interned("dtype"), *const shape = interned("shape"),
                         *const device = interned("get_device"),
                         *const contiguous = interned("is_contiguous"),
                         *const negated = interned("is_neg");
  return is_torch(object) && get(object, dtype).is(target.own_dtype) &&
         equal(get(object, shape), target.own_shape) &&
         is_number(call(object, device), target.device) &&
         call(object, contiguous).is(py::bool_(true)) && call(object, negated).is(py::bool_(false));
}

bool is_cupy_twin(py::handle object, const DeviceArray& target) {
  static PyObject *const dtype = interned("dtype"), *const shape = interned("shape"),
                         *const data = interned("data"), *const device = interned("device_id"),
                         *const flags = interned("flags"),
                         *const contiguous = interned("c_contiguous");
  if (!is_cupy(object) || !get(object, dtype).is(target.own_dtype) ||
      !equal(get(object, shape), target.own_shape))
    return false;
  const py::object memory = get(object, data), order = get(object, flags);
  return memory && order && is_number(get(memory, device), target.device) &&
         get(order, contiguous).is(py::bool_(true));
}

}  // namespace

std::string device_text(int device) {
  return device < 0 ? "a CUDA device" : "cuda:" + std::to_string(device);
}

DeviceArray check_numbers(py::handle object, const Subject& subject, bool writeable,
                          cuda::Stream stream) {
  DeviceObject a = read_object(
      object, subject, "a CUDA array (torch, CuPy, __cuda_array_interface__ or DLPack)", stream);
  if (a.dtype != "float32" && a.dtype != "float64")
    refuse(PyExc_TypeError, subject, "dtype float32 or float64", a.dtype);
  if (writeable) check_writeable(a, subject);
  if (order_of(a) == 0)
    refuse(PyExc_ValueError, subject, "a contiguous array (C or Fortran order)", a.layout_text());
  return checked(std::move(a), object, subject);
}

DeviceArray check_companion(py::handle object, const DeviceArray& target, const Subject& subject,
                            bool writeable, cuda::Stream stream) {
  DeviceObject a = read_beside(object, target, subject, stream);
  if (a.dtype != name_of(target.dtype))
    refuse(PyExc_TypeError, subject,
           std::string("dtype ") + name_of(target.dtype) + " like " + subject.like, a.dtype);
  return check_layout(std::move(a), object, target, subject, writeable);
}

void refuse_rows(const DeviceArray& param, const Subject& subject, const std::string& what_for) {
  refuse(PyExc_ValueError, subject, "an array of rows in C order for " + what_for,
         "shape " + text_of(py::tuple(py::cast(param.shape))) +
             ((param.order & kC) != 0 ? "" : " in Fortran order"));
}

DeviceArray one_a_row(const DeviceArray& param, const Subject& subject,
                      const std::string& what_for) {
  if ((param.order & kC) == 0) refuse_rows(param, subject, what_for);
  DeviceArray result = param;
  result.shape = {param.shape.empty() ? 1 : param.shape[0]};
  result.size = static_cast<std::size_t>(result.shape[0]);
  result.order = kC | kF;
  return result;
}

DeviceArray check_copy(py::handle object, const DeviceArray& target, const Subject& subject,
                       cuda::Stream stream) {
  if (target.dtype != Format::float32)
    refuse(PyExc_TypeError, subject, "a float32 parameter", "one of float64");
  DeviceObject a = read_beside(object, target, subject, stream);
  // Some name their bfloat16 as two bytes of no type.
  const char* const names[] = {"bfloat16", "uint16", "int16", "void16"};
  if (std::find(std::begin(names), std::end(names), a.dtype) == std::end(names))
    refuse(PyExc_TypeError, subject, "dtype bfloat16 (or its bits as uint16)", a.dtype);
  DeviceArray result = check_layout(std::move(a), object, target, subject, /*writeable=*/true);
  result.dtype = Format::bfloat16;
  return result;
}

void check_beside(const DeviceArray& first, const std::string& first_name, const DeviceArray& array,
                  const Subject& subject) {
  if (is_elsewhere(array.device, first.device))
    refuse(PyExc_ValueError, subject,
           "memory on " + device_text(first.device) + " like " +
               Subject{"parameter", first_name}.text(),
           "memory on " + device_text(array.device));
}

bool take_twin(py::handle object, const DeviceArray& target, DeviceArray& out) {
  dlpack::Tensor tensor;
  const bool described = target.origin == Origin::torch && is_torch(object) &&
                         dlpack::describe_numbers(object, tensor);
  const bool known = described
                         ? is_twin(tensor, target)
                         : (target.order & kC) != 0 &&
                               ((target.origin == Origin::torch && is_torch_twin(object, target)) ||
                                (target.origin == Origin::cupy && is_cupy_twin(object, target)));
  if (!known) {
    PyErr_Clear();  // the slow way says what is wrong
    return false;
  }
  const std::intptr_t address = described ? reinterpret_cast<std::intptr_t>(dlpack::address(tensor))
                                          : address_now(object, target.origin);
  if (address == -1 || static_cast<std::size_t>(address) % target.item != 0) return false;
  if (address == 0 && target.size != 0) return false;
  out.owner = py::reinterpret_borrow<py::object>(object);
  out.data = reinterpret_cast<void*>(address);
  out.size = target.size;
  out.item = target.item;
  out.dtype = target.dtype;
  out.order = target.order;
  out.device = target.device;
  out.origin = target.origin;
  out.writeable = true;
  return true;
}

void check_unchanged(const DeviceArray& checked, const Subject& subject, bool writeable) {
  // Where nothing lies, libraries call the place one thing or another.
  if (checked.size != 0 && checked.origin != Origin::dlpack &&
      address_now(checked.owner, checked.origin) != reinterpret_cast<std::intptr_t>(checked.data))
    refuse(PyExc_ValueError, subject, "the array as it was when it was handed over",
           "one that was resized, retyped or reallocated since");
  if (writeable && !checked.writeable)
    refuse(PyExc_ValueError, subject, "a writeable array", "a read-only one");
}

static py::array host_array(const DeviceArray& array) {
  const py::object empty = py::module_::import("numpy").attr("empty");
  return empty(py::tuple(py::cast(array.shape)), name_of(array.dtype),
               (array.order & kC) != 0 ? "C" : "F");
}

py::array copy_out_of(const DeviceArray& array, cuda::Stream stream) {
  refuse_while_capturing("a copy from the device", stream);
  py::array result = host_array(array);
  void* const to = result.mutable_data();
  const py::gil_scoped_release unlocked;
  const cuda::OnDevice on(std::max(array.device, 0));
  if (array.size != 0) cuda::copy_out(to, array.data, array.size * array.item, stream);
  return result;
}

void copy_into(const DeviceArray& array, const py::array& value, cuda::Stream stream) {
  const py::array ordered = py::module_::import("numpy").attr("asarray")(
      value, name_of(array.dtype), (array.order & kC) != 0 ? "C" : "F");
  if (static_cast<std::size_t>(ordered.size()) != array.size)
    throw std::invalid_argument("a value has its array's shape");
  const void* const from = ordered.data();
  const py::gil_scoped_release unlocked;
  const cuda::OnDevice on(std::max(array.device, 0));
  if (array.size != 0) cuda::copy_in(array.data, from, array.size * array.item, stream);
}

}  // namespace fusedstep::bindings
