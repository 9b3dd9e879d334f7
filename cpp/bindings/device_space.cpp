#include "device_space.hpp"

#include <pybind11/stl.h>

#include <algorithm>

namespace fusedstep::bindings {

void DeviceSpace::enter(Engine& engine, const std::vector<DeviceArray>& params) {
  stream_ = reinterpret_cast<cuda::Stream>(py::cast<std::uintptr_t>(current_stream_()));
  for (const DeviceArray& param : params)
    if (device_ < 0) device_ = param.device;
  if (!params.empty()) leader_ = params.front().origin;
  engine.use(std::max(device_, 0), stream_);
}

void DeviceSpace::expect_outcome(Engine& engine) {
  applied_ = grad_norm_ = py::none();
  if (engine.measures()) {
    applied_ = scalar_("bool");
    grad_norm_ = scalar_("float64");
  }
  bool* const applied = address_of<bool>(applied_, "applied");
  engine.report_to(applied, address_of<double>(grad_norm_, "grad_norm"));
}

template <class T>
T* DeviceSpace::address_of(const py::object& scalar, const std::string& name) const {
  if (scalar.is_none()) return nullptr;
  const Subject subject{"", name};
  // The library has just made it on the stream of this step: there is nothing to wait for.
  dlpack::Tensor tensor;
  if (is_torch(scalar) && dlpack::describe(scalar, tensor) && tensor.device_id == device_)
    return static_cast<T*>(dlpack::address(tensor));
  const DeviceObject object = read_object(scalar, subject, "a CUDA array", stream_);
  // Numba allocates on its current device, whichever the parameters' is.
  if (device_ >= 0 && object.device != device_)
    refuse(PyExc_ValueError, subject, "memory on " + device_text(device_) + " like the parameters",
           "memory on " + device_text(object.device));
  return static_cast<T*>(object.data);
}

Scale DeviceSpace::scale_of(const py::object& value) {
  if (PyFloat_Check(value.ptr()) != 0) return {py::cast<double>(value)};
  static const std::string name = "grad_scale";
  const Subject subject{"", name};
  const std::string expected =
      "a number, or a CUDA array of one float32 or float64 on " + device_text(device_);
  DeviceObject scalar = read_object(value, subject, expected, stream_);
  const bool fits = (scalar.dtype == "float32" || scalar.dtype == "float64") &&
                    scalar.size() == 1 && (device_ < 0 || scalar.device == device_);
  if (!fits)
    refuse(PyExc_ValueError, subject, expected,
           scalar.dtype + " of shape " + scalar.shape_text() + " on " + device_text(scalar.device));
  scale_ = scalar.capsule ? scalar.capsule : value;
  return {1.0,
          {scalar.data, nullptr, scalar.dtype == "float32" ? Format::float32 : Format::float64}};
}

static py::array read_indices(py::handle indices, const Subject& subject, cuda::Stream stream) {
  DeviceObject object =
      read_object(indices, subject, "a one-dimensional array of int32 or int64", stream);
  const bool wide = object.dtype == "int64";
  if ((!wide && object.dtype != "int32") || object.shape.size() != 1)
    refuse(PyExc_TypeError, subject, "a one-dimensional array of int32 or int64",
           "dtype " + object.dtype + " of " + std::to_string(object.shape.size()) + " dimensions");
  if (object.size() > 1 && object.strides[0] != static_cast<py::ssize_t>(object.item))
    refuse(PyExc_ValueError, subject, "contiguous indices on the device", object.layout_text());
  refuse_while_capturing(subject.text() + " on the device", stream);
  py::array result(py::dtype(wide ? "int64" : "int32"), object.shape);
  void* const to = result.mutable_data();
  const py::gil_scoped_release unlocked;
  const cuda::OnDevice on(std::max(object.device, 0));
  if (object.size() != 0) cuda::copy_out(to, object.data, object.size() * object.item, stream);
  return result;
}

CheckedRows<DeviceArray> DeviceSpace::check_rows(py::handle indices, py::handle rows,
                                                 const DeviceArray& param,
                                                 const std::string& name) const {
  const auto shape_text = [](const std::vector<py::ssize_t>& shape) {
    return text_of(py::tuple(py::cast(shape)));
  };
  if (param.shape.empty() || (param.order & py::array::c_style) == 0)
    refuse_rows(param, {"parameter", name}, "step_rows");
  const auto limit = static_cast<std::size_t>(param.shape[0]);
  const Subject which{"indices of", name};
  const std::vector<std::int64_t> numbers =
      py::isinstance<py::array>(indices)
          ? row_numbers(indices, limit, which)
          : row_numbers(read_indices(indices, which, stream_), limit, which);

  CheckedRows<DeviceArray> result;
  const Subject subject{"rows of", name};
  result.values = check_numbers(rows, subject, /*writeable=*/false);
  check_beside(param, name, result.values, subject);
  std::vector<py::ssize_t> shape = param.shape;
  shape[0] = static_cast<py::ssize_t>(numbers.size());
  const DeviceArray& values = result.values;
  const bool same_dtype = values.dtype == param.dtype;
  if (!same_dtype || values.shape != shape || (values.order & py::array::c_style) == 0)
    refuse(same_dtype ? PyExc_ValueError : PyExc_TypeError, subject,
           name_of(param.dtype) + (" of shape " + shape_text(shape)) + " in C order",
           name_of(values.dtype) + (" of shape " + shape_text(values.shape)));
  result.gradients = gather_rows(numbers, limit == 0 ? 0 : param.size / limit, values.stored());
  return result;
}

}  // namespace fusedstep::bindings
