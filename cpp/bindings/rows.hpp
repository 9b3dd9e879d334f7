// Gradients of some rows of one parameter, as a user hands them over.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "engine/roster.hpp"

namespace fusedstep::bindings {

template <class Array>
struct CheckedRows {
  RowGradients gradients;  // without the tensor's number
  Array values;            // what they point into
};

// Which rows: a one-dimensional array of int32 or int64, NumPy's or one that NumPy can view, or a
// list; each 0 <= index < limit.
std::vector<std::int64_t> row_numbers(py::handle indices, std::size_t limit,
                                      const Subject& subject);

// Gathers the gradients of each row, which lie in `values` in the order of the numbers; nothing is
// read.
RowGradients gather_rows(const std::vector<std::int64_t>& numbers, std::size_t row_size,
                         const Array& values);

// `indices` in any order, with repetitions; `rows`: one row of the parameter's shape and dtype for
// each. Rows that are named several times are gathered.
CheckedRows<CheckedArray> check_rows(py::handle indices, py::handle rows, const CheckedArray& param,
                                     const std::string& name);

}  // namespace fusedstep::bindings
