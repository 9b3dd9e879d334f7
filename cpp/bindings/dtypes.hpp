// The formats of arrays by the names of their dtypes.
#pragma once

#include <optional>
#include <string>

#include "dlpack.hpp"
#include "formats/format.hpp"

namespace fusedstep::bindings {

// That of parameters, gradients and state whose dtype NumPy calls so; none for other dtypes.
inline std::optional<Format> format_called(const std::string& dtype) {
  for (std::size_t i = 0; i < kFormatCount; ++i)
    if (kFormats[i].native && dtype == kFormats[i].name) return static_cast<Format>(i);
  return std::nullopt;
}

// "float32 or float64"
inline std::string formats_text() {
  std::string text;
  for (const FormatInfo& format : kFormats)
    if (format.native) text += (text.empty() ? "" : " or ") + std::string(format.name);
  return text;
}

constexpr dlpack::TypeCode dlpack_code(Format format) {
  return format == Format::bfloat16 ? dlpack::kBfloat : dlpack::kFloat;
}

// Whether a dtype of this name is bfloat16 or holds its bits. Device libraries without a bfloat16
// of their own may call it two bytes of another type.
inline bool holds_bfloat16(const std::string& name, bool on_device) {
  return name == "bfloat16" || name == "uint16" ||
         (on_device && (name == "int16" || name == "void16"));
}

}  // namespace fusedstep::bindings
