#include "strides.hpp"

#include <algorithm>
#include <numeric>

namespace fusedstep::bindings {
namespace {

// Wraps around: an empty array may say any lengths, and an axis of one any stride.
Size product(Size a, Size b) {
  return static_cast<Size>(static_cast<std::size_t>(a) * static_cast<std::size_t>(b));
}

bool is_contiguous(const Sizes& shape, const Sizes& strides, std::size_t item, bool fortran) {
  const std::size_t n = shape.size();
  auto step = static_cast<Size>(item);
  for (std::size_t k = 0; k < n; ++k) {
    const std::size_t i = fortran ? k : n - 1 - k;
    if (shape[i] != 1 && strides[i] != step) return false;
    step = product(step, shape[i]);
  }
  return true;
}

}  // namespace

Sizes c_strides(const Sizes& shape, std::size_t item) {
  Sizes strides(shape.size());
  auto step = static_cast<Size>(item);
  for (std::size_t i = shape.size(); i-- > 0; step = product(step, shape[i])) strides[i] = step;
  return strides;
}

std::vector<std::size_t> axes_in_memory(const Sizes& strides) {
  std::vector<std::size_t> axes(strides.size());
  std::iota(axes.begin(), axes.end(), std::size_t{0});
  // No stable_sort, which asks for memory and does without.
  std::sort(axes.begin(), axes.end(), [&](std::size_t a, std::size_t b) {
    return strides[a] != strides[b] ? strides[a] > strides[b] : a < b;
  });
  return axes;
}

Sizes dense_strides(const Sizes& shape, const Sizes& strides, std::size_t item) {
  Sizes result(shape.size());
  auto step = static_cast<Size>(item);
  const std::vector<std::size_t> axes = axes_in_memory(strides);
  for (std::size_t k = axes.size(); k-- > 0; step = product(step, shape[axes[k]]))
    result[axes[k]] = step;
  return result;
}

bool are_alike(const Sizes& shape, const Sizes& strides, std::size_t item, const Sizes& others,
               std::size_t other_item) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return true;
  const auto bytes = static_cast<Size>(item), other_bytes = static_cast<Size>(other_item);
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (shape[i] != 1 && (strides[i] % bytes != 0 || strides[i] / bytes != others[i] / other_bytes))
      return false;
  return true;
}

bool is_dense(const Size* shape, const Size* strides, std::size_t ndim, std::size_t item) {
  if (std::find(shape, shape + ndim, 0) != shape + ndim) return true;
  auto step = static_cast<Size>(item);
  // One axis after the other, from the densest; no two of them have the same stride.
  for (auto left = ndim - std::size_t(std::count(shape, shape + ndim, 1)); left > 0; --left) {
    std::size_t i = 0;
    while (i < ndim && (shape[i] == 1 || strides[i] != step)) ++i;
    if (i == ndim) return false;
    step = product(step, shape[i]);
  }
  return true;
}

int order_of(const Sizes& shape, const Sizes& strides, std::size_t item) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return kOrders;
  return (is_contiguous(shape, strides, item, /*fortran=*/false) ? kC : 0) |
         (is_contiguous(shape, strides, item, /*fortran=*/true) ? kFortran : 0);
}

bool is_channels_last(Sizes shape, Sizes strides, std::size_t item) {
  if (shape.size() != 4 && shape.size() != 5) return false;
  for (Sizes* const sizes : {&shape, &strides})
    std::rotate(sizes->begin() + 1, sizes->begin() + 2, sizes->end());
  return is_contiguous(shape, strides, item, /*fortran=*/false);
}

namespace dlpack {

Sizes strides_of(const Tensor& tensor, const Sizes& shape, std::size_t item) {
  if (tensor.strides == nullptr) return c_strides(shape, item);
  Sizes strides(tensor.strides, tensor.strides + tensor.ndim);
  for (Size& stride : strides) stride = product(stride, static_cast<Size>(item));
  return strides;
}

bool has_form(const Tensor& tensor, std::uint8_t code, std::size_t item, const Size* shape,
              const Size* strides, std::size_t ndim) {
  const Size* const end = shape + ndim;
  const bool alike = tensor.code == code && tensor.lanes == 1 && tensor.bits == 8 * item &&
                     static_cast<std::size_t>(tensor.ndim) == ndim &&
                     std::equal(shape, end, tensor.shape);
  if (!alike) return false;
  if (std::find(shape, end, 0) != end) return true;  // nothing lies anywhere
  Size in_c_order = 1;
  for (std::size_t i = ndim; i-- > 0; in_c_order = product(in_c_order, shape[i])) {
    const Size stride = tensor.strides != nullptr ? tensor.strides[i] : in_c_order;
    if (shape[i] != 1 && product(stride, static_cast<Size>(item)) != strides[i]) return false;
  }
  return true;
}

}  // namespace dlpack
}  // namespace fusedstep::bindings
