#include "space.hpp"

#include <algorithm>

namespace fusedstep::bindings {

void DeviceSpace::enter(Engine& engine, const std::vector<DeviceArray>& params) {
  stream_ = reinterpret_cast<cuda::Stream>(py::cast<std::uintptr_t>(current_stream_()));
  for (const DeviceArray& param : params)
    if (device_ < 0) device_ = param.device;
  if (!params.empty()) origin_ = params.front().origin;
  engine.use(std::max(device_, 0), stream_);
}

void DeviceSpace::prepare_result(Engine& engine) {
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
  const dlpack::Describe look =
      is_torch(scalar) ? dlpack::describes(scalar, /*quietly=*/false) : nullptr;
  if (dlpack::describe(look, scalar, tensor) && tensor.device_id == device_)
    return static_cast<T*>(dlpack::address(tensor));
  const Description object = read_device_array(scalar, subject, "a CUDA array", stream_);
  // Numba allocates on its current device, whichever the parameters' is.
  if (device_ >= 0 && object.device != device_)
    refuse(PyExc_ValueError, subject, "memory on " + device_text(device_) + " like the parameters",
           "memory on " + device_text(object.device));
  return static_cast<T*>(object.data);
}

Scale DeviceSpace::scale_of(const py::object& value) {
  if (PyFloat_Check(value.ptr()) != 0) return {py::cast<double>(value)};
  static const std::string name = "grad_scale";
  constexpr Formats kScalars{Format::float32, Format::float64};
  const Subject subject{"", name};
  const std::string expected =
      "a number, or a CUDA array of one " + formats_text(kScalars) + " on " + device_text(device_);
  const Description scalar = read_device_array(value, subject, expected, stream_);
  const std::optional<Format> format =
      format_called(scalar.dtype, kScalars, /*as_bits=*/false, /*on_device=*/true);
  const bool fits = scalar.size() == 1 && (device_ < 0 || scalar.device == device_);
  if (!format || !fits)
    refuse(PyExc_ValueError, subject, expected,
           scalar.dtype + " of shape " + tuple_text(scalar.shape) + " on " +
               device_text(scalar.device));
  scale_ = scalar.source ? scalar.source : value;
  return {1.0, {scalar.data, nullptr, *format}};
}

}  // namespace fusedstep::bindings
