// Where the elements of an array lie: arithmetic of shapes and strides, without Python, so that
// tests/fuzz can drive it alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "dlpack.hpp"

namespace fusedstep::bindings {

using Size = std::ptrdiff_t;
using Sizes = std::vector<Size>;

// Memory orders, as NumPy's flags. An array may be contiguous in both, or without gaps in neither:
// with its axes in another order, as torch's channels_last. Then its strides say in which.
constexpr int kC = 1, kFortran = 2, kOrders = kC | kFortran;

Sizes c_strides(const Sizes& shape, std::size_t item);
// The axes in the order of memory, the last of which is the densest.
std::vector<std::size_t> axes_in_memory(const Sizes& strides);
// Of an array without gaps whose axes are in memory in the order that these strides have them.
Sizes dense_strides(const Sizes& shape, const Sizes& strides, std::size_t item);
// Whether arrays of `shape`, of items of any size, have all elements in the same places; `others`
// is of whole items.
bool are_alike(const Sizes& shape, const Sizes& strides, std::size_t item, const Sizes& others,
               std::size_t other_item);
// Whether an array has no gaps, whatever the order of its axes.
bool is_dense(const Size* shape, const Size* strides, std::size_t ndim, std::size_t item);
// As NumPy's flags: both for one dimension, for empty arrays, and where no other dimension is > 1.
int order_of(const Sizes& shape, const Sizes& strides, std::size_t item);
// torch's order of images and volumes: the second axis is the last in memory.
bool is_channels_last(Sizes shape, Sizes strides, std::size_t item);

namespace dlpack {

// Of what has `shape` and elements of `item` bytes.
Sizes strides_of(const Tensor& tensor, const Sizes& shape, std::size_t item);
// Whether these are numbers of `item` bytes in this shape and with these strides, in bytes.
bool has_form(const Tensor& tensor, std::uint8_t code, std::size_t item, const Size* shape,
              const Size* strides, std::size_t ndim);

}  // namespace dlpack
}  // namespace fusedstep::bindings
