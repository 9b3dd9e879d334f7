// Gradients of some rows of one parameter, as a user hands them over.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "engine/roster.hpp"

namespace fusedstep::bindings {

constexpr const char* kIndices = "a one-dimensional array of int32 or int64";

// Throws unless the array is one of these; it may have any stride.
void check_indices(const Description& indices, const Subject& subject);

// The numbers of checked indices in the memory of the host; each 0 <= index < limit.
std::vector<std::size_t> row_numbers(const Description& indices, std::size_t limit,
                                     const Subject& subject);

// Throws unless `values` are `count` rows of the parameter, in C order.
void check_row_values(const Model& values, const Model& param, std::size_t count,
                      const Subject& subject);

// The gradients of each row, which `values` has in the order of the numbers, each less than
// `limit`.
RowGradients gather_rows(std::vector<std::size_t> numbers, std::size_t limit);

template <class Checked>
struct CheckedRows {
  RowGradients gradients;  // without the tensor's number
  Checked values;          // what they point into
};

// `indices` in any order, with repetitions; `rows`: a row of the parameter's shape for each, of
// what a gradient may be. Rows that are named several times are gathered.
template <class Space, class Checked = typename Space::Array>
CheckedRows<Checked> check_rows(const Space& space, py::handle indices, py::handle rows,
                                const Checked& param, const std::string& name) {
  const Subject subject{"parameter", name}, which{"indices of", name}, what{"rows of", name};
  space.check_rows_unchanged(param, subject);
  const Model model = model_of(param);
  if (model.shape.empty() || (model.order & kC) == 0) refuse_rows(model, subject, "step_rows");
  const auto limit = static_cast<std::size_t>(model.shape[0]);
  std::vector<std::size_t> numbers = row_numbers(space.read_indices(indices, which), limit, which);

  CheckedRows<Checked> result;
  result.values = space.check_numbers(rows, what, /*writeable=*/false);
  space.check_beside(param, name, result.values, what);
  check_row_values(model_of(result.values), model, numbers.size(), what);
  result.gradients = gather_rows(std::move(numbers), limit);
  result.gradients.row_size = limit == 0 ? 0 : param.size / limit;
  result.gradients.values = result.values.stored();
  return result;
}

}  // namespace fusedstep::bindings
