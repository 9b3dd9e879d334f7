#include "description.hpp"

#include <pybind11/stl.h>

#include <algorithm>

namespace fusedstep::bindings {
namespace {

bool is_contiguous(const Sizes& shape, const Sizes& strides, std::size_t item, bool fortran) {
  const std::size_t n = shape.size();
  auto step = static_cast<py::ssize_t>(item);
  for (std::size_t k = 0; k < n; ++k) {
    const std::size_t i = fortran ? k : n - 1 - k;
    if (shape[i] != 1 && strides[i] != step) return false;
    step *= shape[i];
  }
  return true;
}

// torch's order of images and volumes: the second axis is the last in memory.
bool is_channels_last(Sizes shape, Sizes strides, std::size_t item) {
  if (shape.size() != 4 && shape.size() != 5) return false;
  for (Sizes* const sizes : {&shape, &strides})
    std::rotate(sizes->begin() + 1, sizes->begin() + 2, sizes->end());
  return is_contiguous(shape, strides, item, /*fortran=*/false);
}

}  // namespace

std::size_t Description::size() const {
  std::size_t result = 1;
  for (const py::ssize_t length : shape) result *= static_cast<std::size_t>(length);
  return result;
}

std::string Description::layout_text() const {
  return "shape " + tuple_text(shape) + " with strides " + tuple_text(strides) +
         (is_channels_last(shape, strides, item) ? ", torch's channels_last: use .contiguous()"
                                                 : "");
}

Sizes c_strides(const Sizes& shape, std::size_t item) {
  Sizes strides(shape.size());
  auto step = static_cast<py::ssize_t>(item);
  for (std::size_t i = shape.size(); i-- > 0; step *= shape[i]) strides[i] = step;
  return strides;
}

Sizes strides_of(const dlpack::Tensor& tensor, const Sizes& shape, std::size_t item) {
  if (tensor.strides == nullptr) return c_strides(shape, item);
  Sizes strides(tensor.strides, tensor.strides + tensor.ndim);
  for (py::ssize_t& stride : strides) stride *= static_cast<py::ssize_t>(item);
  return strides;
}

int order_of(const Sizes& shape, const Sizes& strides, std::size_t item) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return kOrders;
  return (is_contiguous(shape, strides, item, /*fortran=*/false) ? kC : 0) |
         (is_contiguous(shape, strides, item, /*fortran=*/true) ? kFortran : 0);
}

std::string tuple_text(const Sizes& sizes) { return text_of(py::tuple(py::cast(sizes))); }

std::string device_text(int device) {
  return device < 0 ? "a CUDA device" : "cuda:" + std::to_string(device);
}

}  // namespace fusedstep::bindings
