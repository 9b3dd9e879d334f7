// The arrays of one tensor, as a step reads and writes them.
#pragma once

#include <array>
#include <cstddef>

#include "formats/format.hpp"
#include "rules/rule.hpp"

namespace fusedstep {

// All elements of it. Element i of one array belongs to element i of the others; of a row-wise
// rule, a state has one element per row.
struct TensorView {
  Array param;
  std::array<Array, kMaxStates> state;  // those that a variant has not are absent
  Array average;                        // of the parameter over time, if there is one
  Array copy;                           // the parameter in another format, if there is one
  std::size_t row_size = 1;             // elements per row, of a row-wise rule
};

// What a step moves of it: all, or one row. Its elements are counted from 0; arrays of the tensor
// are not shifted, so that each element keeps its number whatever is cut.
struct Part {
  const TensorView* tensor;
  std::size_t first;  // the element of the tensor that the part's element 0 is
  const Array* sets;  // one gradient per set, of the part's elements
};

// Of a part, under a layer-wise rule, whose first sweep finds them and whose second reads them.
struct Norms {
  double param, direction;
};

}  // namespace fusedstep
