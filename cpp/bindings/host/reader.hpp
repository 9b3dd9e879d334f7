// Reads arrays in the memory of the CPU: NumPy's, and what NumPy can view through DLPack.
#pragma once

#include "bindings/description.hpp"

namespace fusedstep::bindings {

// A NumPy array as it is, or a view of an array that supports DLPack, whether or not it requires
// gradients of its own. Never a copy.
py::array as_array(py::handle object, const Subject& subject);

Description describe(const py::array& array);
// The same of as_array(object), with the object as the source where it was viewed.
Description read_array(py::handle object, const Subject& subject);

// The same for an array of numbers. One of bfloat16 that NumPy cannot view, because it has no such
// dtype, has that dtype and no memory.
Description read_numbers(py::handle object, const Subject& subject);

// Which rows: a one-dimensional array of int32 or int64, or a list. Checked.
Description read_indices(py::handle indices, const Subject& subject);

}  // namespace fusedstep::bindings
