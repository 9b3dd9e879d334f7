// Gradients of some rows of one parameter, as a user hands them over.
#pragma once

#include <string>

#include "../stepper.hpp"
#include "arrays.hpp"

namespace fusedstep::bindings {

struct CheckedRows {
  RowGradients gradients;  // without the tensor's number
  CheckedArray values;     // what they point into
};

// `indices`: a one-dimensional int32 or int64 array, in any order, with repetitions; `rows`: one
// row of the parameter's shape and dtype for each. Rows that are named several times are gathered.
CheckedRows check_rows(py::handle indices, py::handle rows, const CheckedArray& param,
                       const std::string& name);

}  // namespace fusedstep::bindings
