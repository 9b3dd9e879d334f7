// What an object says of its memory in C, through the exchange table of its type (DLPack 1.3), in a
// fraction of the time of its attributes: torch's tensors from 2.10 on.
#pragma once

#include <cstddef>

#include "dlpack.hpp"
#include "messages.hpp"

namespace fusedstep::bindings {

// Whether the object is of the class `name` of a library, where somebody has imported that. `type`
// is where the class is kept once it was found.
bool is_of(py::handle object, PyTypeObject*& type, const char* library, const char* name);
bool is_torch(py::handle object);

// Whether a tensor of torch stands for the negatives of the numbers in its memory, which DLPack
// cannot say. Asks the tensor itself.
bool is_negated(py::handle object);
constexpr const char* kNegated = "its negative bit is set: use resolve_neg()";

namespace dlpack {

// False where the type has no table, or the object no such memory; nothing is raised. No method of
// the object is called. What it points to is the object's: it holds while the object is left alone.
bool describe(py::handle object, Tensor& out);

// The same of an object whose numbers may be read from there. False also where they may be others:
// of a tensor that is_negated(), and of classes derived from the one that brings the table, which
// may keep them anywhere.
bool describe_numbers(py::handle object, Tensor& out);

inline void* address(const Tensor& tensor) {
  return static_cast<std::byte*>(tensor.data) + tensor.byte_offset;
}

// Whether these are numbers of `item` bytes in this shape, contiguous in Fortran order or in C's.
bool has_form(const Tensor& tensor, std::uint8_t code, std::size_t item, const py::ssize_t* shape,
              std::size_t ndim, bool fortran);

}  // namespace dlpack
}  // namespace fusedstep::bindings
