#include "arrays.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "bindings/unlocked.hpp"
#include "formats/codes.hpp"

namespace fusedstep::bindings {
namespace {

constexpr std::size_t kExchangedAtOnce = std::size_t{64} << 20;  // bytes

std::string on_device_of(const DeviceArray& target, const Subject& subject) {
  return "memory on " + device_text(target.device) + " like " + subject.like;
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
bool matches(const dlpack::Tensor& tensor, const DeviceArray& target) {
  return tensor.device_type == dlpack::kCUDA && tensor.device_id == target.device &&
         dlpack::has_form(tensor, target.code, target.item, target.shape.data(),
                          target.strides.data(), target.shape.size());
}

bool is_where_it_was(const DeviceArray& checked) {
  dlpack::Tensor now;
  const bool keeps_shape = bool(checked.own_shape);
  return dlpack::describe(checked.look, checked.owner, now) &&
         dlpack::address(now) == checked.data && (!keeps_shape || matches(now, checked));
}

bool matches_torch(py::handle object, const DeviceArray& target) {
  static PyObject *const dtype = interned("dtype"), *const shape = interned("shape"),
                         *const device = interned("get_device"),
                         *const contiguous = interned("is_contiguous"),
                         *const negated = interned("is_neg");
  return is_torch(object) && get(object, dtype).is(target.own_dtype) &&
         equal(get(object, shape), target.own_shape) &&
         is_number(call(object, device), target.device) &&
         call(object, contiguous).is(py::bool_(true)) && call(object, negated).is(py::bool_(false));
}

bool matches_cupy(py::handle object, const DeviceArray& target) {
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

DeviceArray::DeviceArray(Description&& description, Format format_of_it)
    : CheckedArray(std::move(description), format_of_it),
      device(size == 0 ? -1 : description.device),
      origin(description.origin),
      is_writeable(description.is_writeable),
      shape(std::move(description.shape)),
      strides(std::move(description.strides)) {
  if (origin == Origin::torch || origin == Origin::cupy) {
    own_dtype = owner.attr("dtype");
    own_shape = owner.attr("shape");
  }
  if (origin == Origin::torch) look = dlpack::describes(owner, /*quietly=*/true);
  dlpack::Tensor now;
  if (dlpack::describe(look, owner, now)) code = now.code;  // bfloat16 may be called otherwise
}

DeviceArray check_numbers(py::handle object, const Subject& subject, bool writeable,
                          cuda::Stream stream) {
  Description array = read_device_array(
      object, subject, "a CUDA array (torch, CuPy, __cuda_array_interface__ or DLPack)", stream);
  const Format format = check_array(array, {Formats::numbers(), false, writeable}, subject);
  return DeviceArray(std::move(array), format);
}

DeviceArray check_held(py::handle object, const Subject& subject, cuda::Stream stream) {
  Description array = read_device_array(object, subject, "a CUDA array", stream);
  const Format format = check_array(array, {Formats::all(), /*as_bits=*/true}, subject);
  return DeviceArray(std::move(array), format);
}

py::dtype dtype_on_host(const DeviceArray& array) {
  const std::string bits = std::to_string(8 * array.item);
  if (array.code == dlpack::kInt) return py::dtype("int" + bits);
  if (array.code == dlpack::kUInt) return py::dtype("uint" + bits);
  if (array.format == Format::bfloat16) return py::dtype("uint16");
  return py::dtype("float" + bits);
}

DeviceArray check_like(py::handle object, const DeviceArray& target, Expected expected,
                       const Subject& subject, cuda::Stream stream) {
  Description array = read_device_array(object, subject, on_device_of(target, subject), stream);
  const Model model = model_of(target);
  expected.like = &model;
  const Format format = check_array(array, expected, subject);
  return DeviceArray(std::move(array), format);
}

DeviceArray one_axis(const DeviceArray& param, std::size_t size) {
  DeviceArray result = param;
  result.shape = {static_cast<py::ssize_t>(size)};
  result.strides = {static_cast<py::ssize_t>(param.item)};
  result.size = size;
  result.order = kOrders;
  return result;
}

DeviceArray one_a_row(const DeviceArray& param, const Subject& subject,
                      const std::string& what_for) {
  if ((param.order & kC) == 0) refuse_rows(model_of(param), subject, what_for);
  return one_axis(param, param.shape.empty() ? 1 : static_cast<std::size_t>(param.shape[0]));
}

Model model_of(const DeviceArray& array) {
  return {array.format, array.shape, array.strides, array.item, array.order, array.device};
}

void check_beside(const DeviceArray& first, const std::string& first_name, const DeviceArray& array,
                  const Subject& subject) {
  if (is_elsewhere(array.device, first.device))
    refuse_device(array.device, first.device, Subject{"parameter", first_name}.text(), subject);
}

bool take_matching(py::handle object, const DeviceArray& target, const Acquaintance& known,
                   DeviceArray& out) {
  dlpack::Tensor tensor;
  const dlpack::Describe look = target.origin == Origin::torch && is_torch(object)
                                    ? dlpack::describe_numbers(object, tensor, known)
                                    : nullptr;
  const bool described = look != nullptr;
  const bool fits = described
                        ? matches(tensor, target)
                        : (target.order & kC) != 0 &&
                              ((target.origin == Origin::torch && matches_torch(object, target)) ||
                               (target.origin == Origin::cupy && matches_cupy(object, target)));
  if (!fits) {
    PyErr_Clear();  // the slow way says what is wrong
    return false;
  }
  const std::intptr_t address = described ? reinterpret_cast<std::intptr_t>(dlpack::address(tensor))
                                          : address_now(object, target.origin);
  // Empty arrays, which lie nowhere, are on no device and do not fit.
  if (address == -1 || address == 0) return false;
  if (static_cast<std::size_t>(address) % target.item != 0) return false;
  out.owner = py::reinterpret_borrow<py::object>(object);
  out.look = look;
  out.data = reinterpret_cast<void*>(address);
  out.set_form(target);
  out.device = target.device;
  out.origin = target.origin;
  out.is_writeable = true;
  return true;
}

void ask(const DeviceArray& checked, const Subject& subject) {
  if (address_now(checked.owner, checked.origin) != reinterpret_cast<std::intptr_t>(checked.data))
    refuse_changed(subject);
}

void check_unchanged(const DeviceArray& checked, const Subject& subject, bool writeable) {
  // Where nothing lies, libraries call the place one thing or another.
  if (checked.size != 0 && checked.look != nullptr && !is_where_it_was(checked))
    refuse_changed(subject);
  if (writeable && !checked.is_writeable) refuse_read_only(subject);
}

static py::array host_array(const DeviceArray& array) {
  return py::array(dtype_on_host(array), array.shape,
                   dense_strides(array.shape, array.strides, array.item));
}

py::array copy_out_of(const DeviceArray& array, cuda::Stream stream) {
  refuse_while_capturing("a copy from the device", stream);
  py::array result = host_array(array);
  void* const to = result.mutable_data();
  const Unlocked unlocked;
  const cuda::OnDevice on(std::max(array.device, 0));
  if (array.size != 0) cuda::copy_out(to, array.data, array.size * array.item, stream);
  return result;
}

void copy_into(const DeviceArray& array, const py::array& value, cuda::Stream stream) {
  const py::array ordered = in_order_of(array.strides, value, dtype_on_host(array));
  if (static_cast<std::size_t>(ordered.size()) != array.size)
    throw std::invalid_argument("a value has its array's shape");
  const void* const from = ordered.data();
  const Unlocked unlocked;
  const cuda::OnDevice on(std::max(array.device, 0));
  if (array.size != 0) cuda::copy_in(array.data, from, array.size * array.item, stream);
}

void copy_rounded(const DeviceArray& copy, const DeviceArray& param, cuda::Stream stream) {
  const py::array values = copy_out_of(param, stream);
  const auto* const numbers = static_cast<const float*>(values.data());
  const Unlocked unlocked;
  std::vector<std::uint16_t> bits(copy.size);
  std::transform(numbers, numbers + copy.size, bits.begin(),
                 [](float number) { return bfloat16_bits(number); });
  const cuda::OnDevice on(std::max(copy.device, 0));
  if (copy.size != 0) cuda::copy_in(copy.data, bits.data(), copy.size * copy.item, stream);
}

void exchange(const std::vector<DeviceArray>& arrays, const std::vector<DeviceArray>& others,
              cuda::Stream stream) {
  refuse_while_capturing("an exchange of the parameters", stream);
  const Unlocked unlocked;
  std::size_t largest = 0;
  int device = 0;
  for (std::size_t i = 0; i < others.size(); ++i) {
    largest = std::max(largest, arrays[i].size * arrays[i].item);
    device = std::max(device, arrays[i].device);
  }
  const cuda::OnDevice on(device);
  cuda::Buffer room;  // one part at a time
  room.reserve(std::min(largest, kExchangedAtOnce));
  for (std::size_t i = 0; i < others.size(); ++i) {
    const std::size_t bytes = arrays[i].size * arrays[i].item;
    for (std::size_t at = 0; at < bytes; at += room.size()) {
      const std::size_t part = std::min(room.size(), bytes - at);
      auto* const one = static_cast<std::byte*>(arrays[i].data) + at;
      auto* const other = static_cast<std::byte*>(others[i].data) + at;
      cuda::copy_within(room.data(), one, part, stream);
      cuda::copy_within(one, other, part, stream);
      cuda::copy_within(other, room.data(), part, stream);
    }
  }
}

}  // namespace fusedstep::bindings
