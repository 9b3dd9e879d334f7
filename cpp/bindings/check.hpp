// What may be handed to a kernel, wherever it lies. Every refusal names the array, what was
// expected and what came.
#pragma once

#include <cstdint>

#include "collected.hpp"
#include "description.hpp"
#include "dtypes.hpp"
#include "engine/memory.hpp"

namespace fusedstep::bindings {

// What matching arrays have in common.
struct Form {
  std::size_t size = 0;
  std::size_t item = 0;  // bytes of one element
  Format format = Format::float32;
  std::uint8_t code = dlpack::kFloat;  // of its dtype, in DLPack
  int order = 0;

  Form() = default;
  Form(const Description& description, Format format);
};

// An array that passed the checks, with what a later step needs to see that it has not changed.
struct CheckedArray : Form {
  py::object owner;   // NumPy's array; on a device, the object that was passed
  py::object source;  // what else holds the memory: the object viewed, or a DLPack capsule
  dlpack::Describe look = nullptr;  // as in Description
  void* data = nullptr;

  CheckedArray() = default;
  // Does not check.
  CheckedArray(Description&& description, Format format);

  void visit(Visitor& visitor) const {
    visitor(owner);
    visitor(source);
  }
  py::handle viewed() const { return source ? source : owner; }  // the object that was passed
  void set_form(const Form& form) { static_cast<Form&>(*this) = form; }
  Array stored() const { return {data, nullptr, format}; }
  Extent extent() const { return {data, size * item}; }
};

// What an array must be like: its parameter.
struct Model {
  Format format = Format::float32;
  Sizes shape, strides;  // strides in bytes of its own items
  std::size_t item = 1;
  int order = 0;
  int device = -1;
};

struct Expected {
  Formats formats = Formats::numbers();
  bool as_bits = false;  // also as integers of the same bits
  bool writeable = false;
  const Model* like = nullptr;  // whose device, shape and order it must have; null: any
};

// What gradients must be beside a parameter of this format.
inline Expected gradient_of(Format param) { return {Formats::numbers(compute_of(param))}; }
// What a step writes beside its parameter.
inline Expected written_in(Formats formats) { return {formats, true, true}; }

// The array's format. Throws unless that is expected, and the array native, without gaps, aligned,
// in memory, and all that `expected` says.
Format check_array(const Description& array, const Expected& expected, const Subject& subject);

// A working copy is one of a float32 parameter.
void check_takes_copy(Format param, const Subject& subject);

// Arrays without a device fit anywhere.
inline bool is_elsewhere(int device, int other) {
  return device >= 0 && other >= 0 && device != other;
}
[[noreturn]] void refuse_device(int device, int expected, const std::string& like,
                                const Subject& subject);

// The parameter of rows has them one after another in memory: C order, at least one dimension.
[[noreturn]] void refuse_rows(const Model& param, const Subject& subject,
                              const std::string& what_for);
[[noreturn]] void refuse_read_only(const Subject& subject);
// Throws fusedstep.ArrayChangedError.
[[noreturn]] void refuse_changed(const Subject& subject);

}  // namespace fusedstep::bindings
