// Reads arrays in the memory of the CPU: NumPy's, and what NumPy can view through DLPack.
#pragma once

#include "bindings/description.hpp"

namespace fusedstep::bindings {

Description describe(const py::array& array);
// A NumPy array as it is, or a view of a tensor of torch or of what else supports DLPack, whether
// or not it requires gradients of its own, with that as the source. Never a copy. Of torch's
// bfloat16, which NumPy does not know, NumPy's array is one of bytes.
Description read_array(py::handle object, const Subject& subject);

// A list or a tuple.
bool is_listed(py::handle object);
// Which rows: a one-dimensional array of int32 or int64, or a list. Checked.
Description read_indices(py::handle indices, const Subject& subject);

}  // namespace fusedstep::bindings
