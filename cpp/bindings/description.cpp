#include "description.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <numeric>

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

// The axes in the order of memory, the last of which is the densest.
std::vector<std::size_t> axes_in_memory(const Sizes& strides) {
  std::vector<std::size_t> axes(strides.size());
  std::iota(axes.begin(), axes.end(), std::size_t{0});
  // No stable_sort, which asks for memory and does without.
  std::sort(axes.begin(), axes.end(), [&](std::size_t a, std::size_t b) {
    return strides[a] != strides[b] ? strides[a] > strides[b] : a < b;
  });
  return axes;
}

}  // namespace

std::size_t Description::size() const {
  std::size_t result = 1;
  for (const py::ssize_t length : shape) result *= static_cast<std::size_t>(length);
  return result;
}

std::string Description::layout_text() const {
  return "shape " + tuple_text(shape) + " with strides " + tuple_text(strides) +
         (is_channels_last(shape, strides, item) ? ", torch's channels_last" : "");
}

Sizes c_strides(const Sizes& shape, std::size_t item) {
  Sizes strides(shape.size());
  auto step = static_cast<py::ssize_t>(item);
  for (std::size_t i = shape.size(); i-- > 0; step *= shape[i]) strides[i] = step;
  return strides;
}

Sizes dense_strides(const Sizes& shape, const Sizes& strides, std::size_t item) {
  Sizes result(shape.size());
  auto step = static_cast<py::ssize_t>(item);
  const std::vector<std::size_t> axes = axes_in_memory(strides);
  for (std::size_t k = axes.size(); k-- > 0; step *= shape[axes[k]]) result[axes[k]] = step;
  return result;
}

bool are_alike(const Sizes& shape, const Sizes& strides, std::size_t item, const Sizes& others,
               std::size_t other_item) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return true;
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (shape[i] != 1 && strides[i] * static_cast<py::ssize_t>(other_item) !=
                             others[i] * static_cast<py::ssize_t>(item))
      return false;
  return true;
}

bool is_dense(const py::ssize_t* shape, const py::ssize_t* strides, std::size_t ndim,
              std::size_t item) {
  auto step = static_cast<py::ssize_t>(item);
  const py::ssize_t end = std::accumulate(shape, shape + ndim, step, std::multiplies<>());
  if (end == 0) return true;
  while (step != end) {  // which grows by the length of one axis after the other
    std::size_t i = 0;
    while (i < ndim && (shape[i] == 1 || strides[i] != step)) ++i;
    if (i == ndim) return false;
    step *= shape[i];
  }
  return true;
}

py::array in_order_of(const Sizes& strides, const py::array& value, const py::object& dtype) {
  const std::vector<std::size_t> axes = axes_in_memory(strides);
  std::vector<std::size_t> back(axes.size());
  for (std::size_t k = 0; k < axes.size(); ++k) back[axes[k]] = k;
  const py::object ordered = py::module_::import("numpy").attr("asarray")(
      value.attr("transpose")(py::tuple(py::cast(axes))), dtype, "C");
  return ordered.attr("transpose")(py::tuple(py::cast(back)));
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
