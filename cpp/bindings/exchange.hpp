// What an object says of its memory in C, through the exchange table of its type (DLPack 1.3), in a
// fraction of the time of its attributes: torch's tensors from 2.10 on.
#pragma once

#include <cstddef>
#include <string>

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
// The name that a tensor of torch has for its dtype: "float32".
std::string torch_dtype(py::handle tensor);

// An object that was met twice in a row, which this does not keep alive.
class Acquaintance {
 public:
  bool is(py::handle object) const;
  // Anybody's code may run, of objects that Python's garbage collector finds meanwhile.
  void meet(py::handle object);

 private:
  const void* last_ = nullptr;  // who knows whether it still lives
  py::object reference_;        // weak
};

namespace dlpack {

// How an object describes its memory. Nothing is raised on 0, and what it points to is the
// object's: it holds while the object is left alone.
using Describe = int (*)(void* object, Tensor* out);

// The function of the object's type; null where it has none, or `quietly` and the function may run
// somebody's Python code. To look for it may run such code, of the type's type.
Describe describes(py::handle object, bool quietly);

// False where there is no function, or the object has no such memory; nothing is raised.
bool describe(Describe function, py::handle object, Tensor& out);

// The same of an object whose numbers may be read from there. Null also where they may be others:
// of a tensor that is_negated(), and of classes derived from the one that brings the table, which
// may keep them anywhere. An acquaintance is not asked for its negative bit again: only a view of
// its own memory that is assigned to it would change that.
Describe describe_numbers(py::handle object, Tensor& out, const Acquaintance& known);

// As NumPy names it; of what NumPy has no name for, something that it does not know.
std::string dtype_name(const Tensor& tensor);

inline void* address(const Tensor& tensor) {
  return static_cast<std::byte*>(tensor.data) + tensor.byte_offset;
}

}  // namespace dlpack
}  // namespace fusedstep::bindings
