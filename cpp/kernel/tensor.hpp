// The arrays of one tensor, as a step reads and writes them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "formats/format.hpp"
#include "formats/rounding.hpp"
#include "rules/rule.hpp"

namespace fusedstep {

// A whole tensor. Elements with the same index belong together; a row-wise rule's states have one
// element per row.
struct TensorView {
  Array param;
  std::array<Array, kMaxStates> state;  // absent where the variant has none
  Array average;                        // of the parameter over time, or absent
  Array copy;                           // of the parameter in another format, or absent
  Array correction;                     // of the parameter, as `rounding` has one, or absent
  Rounding rounding = Rounding::nearest;
  std::size_t row_size = 1;  // elements per row, for row-wise rules
  // Roster::enlist() sets the rest.
  std::uint32_t number = 0;  // of the tensor, for random numbers
  bool is_native = true;     // parameter and states are stored as computed
  std::size_t block = 1;     // elements that no cut divides, since they share a scale
};

// The part of a tensor that a step updates: all of it, or one row. Its elements count from 0; the
// tensor's arrays are not offset, so element numbers do not depend on how work is divided.
struct Part {
  const TensorView* tensor;
  std::size_t first;  // element of the tensor that is the part's element 0
  const Array* sets;  // one gradient per set, for the part's elements
};

// Some rows of a tensor, by number, in ascending order. The gradients of row i are the rows
// gradients[k] of `values` for k in [first[i], first[i + 1]), added in this order.
struct NamedRows {
  std::size_t size;  // elements of a row
  std::size_t count;
  const std::size_t* number;
  const std::size_t* first;      // null: the gradient of row i is row i of `values`
  const std::size_t* gradients;  // null with `first`
  Array values;
  const Array* sets;   // each of `gradients`, if rows are long
  const double* ones;  // as many as a row has gradients
  // Rows that are worth copying into L1 and back (named_rows.hpp), and that no two threads share.
  bool is_short;
};
constexpr std::size_t kShortRow = 512;  // bytes, at most

// Elements of an array that is stored as computed, from index i on; anything if it is absent.
inline Array from_element(const Array& array, std::size_t i) {
  return {static_cast<std::byte*>(array.data) + bytes_of(array.format, i), nullptr, array.format};
}

template <class T>
FUSEDSTEP_HD T* elements(const Array& array, std::size_t i) {
  return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(array.data) + i * sizeof(T));
}

// Norms of a part under a layer-wise rule: set by its first sweep, read by its second.
struct Norms {
  double param, direction;
};

}  // namespace fusedstep
