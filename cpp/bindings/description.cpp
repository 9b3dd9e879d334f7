#include "description.hpp"

#include <pybind11/stl.h>

namespace fusedstep::bindings {

std::size_t Description::size() const {
  std::size_t result = 1;
  for (const py::ssize_t length : shape) result *= static_cast<std::size_t>(length);
  return result;
}

std::string Description::layout_text() const {
  return "shape " + tuple_text(shape) + " with strides " + tuple_text(strides) +
         (is_channels_last(shape, strides, item) ? ", torch's channels_last" : "");
}

py::array in_order_of(const Sizes& strides, const py::array& value, const py::object& dtype) {
  const std::vector<std::size_t> axes = axes_in_memory(strides);
  std::vector<std::size_t> back(axes.size());
  for (std::size_t k = 0; k < axes.size(); ++k) back[axes[k]] = k;
  const py::object ordered = py::module_::import("numpy").attr("asarray")(
      value.attr("transpose")(py::tuple(py::cast(axes))), dtype, "C");
  return ordered.attr("transpose")(py::tuple(py::cast(back)));
}

std::string order_text(const Sizes& shape, const Sizes& strides, std::size_t item) {
  const int order = order_of(shape, strides, item);
  if (order != 0)
    return std::string("a contiguous array in ") + ((order & kC) != 0 ? "C" : "Fortran") + " order";
  return "strides " + tuple_text(strides) +
         (is_channels_last(shape, strides, item) ? " (torch's channels_last)" : "");
}

std::string tuple_text(const Sizes& sizes) { return text_of(py::tuple(py::cast(sizes))); }

std::string device_text(int device) {
  return device < 0 ? "a CUDA device" : "cuda:" + std::to_string(device);
}

}  // namespace fusedstep::bindings
