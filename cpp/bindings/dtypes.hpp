// The dtypes of arrays by their names: what kernels compute in, and how bfloat16 may come.
#pragma once

#include <iterator>
#include <optional>
#include <string>

#include "../kernel_table.hpp"
#include "dlpack.hpp"

namespace fusedstep::bindings {

// What kernels compute in. A dtype is called what NumPy calls it: name_of().
struct NumberType {
  DType dtype;
  dlpack::TypeCode code;
};
constexpr NumberType kNumberTypes[] = {
    {DType::float32, dlpack::kFloat},
    {DType::float64, dlpack::kFloat},
};
static_assert(std::size(kNumberTypes) == kDTypes, "one row for each DType");

inline const NumberType* find_number_type(const std::string& name) {
  for (const NumberType& type : kNumberTypes)
    if (name == name_of(type.dtype)) return &type;
  return nullptr;
}

// None: not a dtype that kernels compute in.
inline std::optional<DType> dtype_of(const std::string& name) {
  const NumberType* const type = find_number_type(name);
  return type == nullptr ? std::nullopt : std::optional(type->dtype);
}

// "float32 or float64"
inline std::string number_types_text() {
  std::string text;
  for (const NumberType& type : kNumberTypes)
    text += (text.empty() ? "" : " or ") + std::string(name_of(type.dtype));
  return text;
}

// Whether a dtype of this name is bfloat16 or holds its bits. Device libraries without a bfloat16
// of their own may call it two bytes of another type.
inline bool holds_bfloat16(const std::string& name, bool on_device) {
  return name == "bfloat16" || name == "uint16" ||
         (on_device && (name == "int16" || name == "void16"));
}

}  // namespace fusedstep::bindings
