// Reads arrays in the memory of the CPU: NumPy's, and what NumPy can view through DLPack.
#pragma once

#include "bindings/description.hpp"

namespace fusedstep::bindings {

Description describe(const py::array& array);
// A NumPy array as it is, or a view of a tensor of torch or of what else supports DLPack, whether
// or not it requires gradients of its own, with that as the source. Never a copy.
Description read_array(py::handle object, const Subject& subject);

// The same for an array of numbers. One of bfloat16 that NumPy cannot view, because it has no such
// dtype, has that dtype and no memory.
Description read_numbers(py::handle object, const Subject& subject);

// The same for a working copy. One of bfloat16 that NumPy cannot view is viewed as its bits.
Description read_copy(py::handle object, const Subject& subject);

// Which rows: a one-dimensional array of int32 or int64, or a list. Checked.
Description read_indices(py::handle indices, const Subject& subject);

}  // namespace fusedstep::bindings
