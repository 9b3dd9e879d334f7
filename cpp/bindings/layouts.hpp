// How arrays that accompany a parameter are stored, by the names that Python has for it.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

#include "dtypes.hpp"

namespace fusedstep::bindings {

// In a format, "native" of what the parameter is computed in; or as the "scales" of its blocks.
struct Layout {
  Format format;
  bool is_scales = false;

  // Elements, beside so many of the parameter.
  std::size_t size(std::size_t of_param) const {
    return is_scales ? scales_of(Format::signed8, of_param) : of_param;
  }
};

inline Layout layout_called(const std::string& name, Format model) {
  if (name == "native") return {native_of(compute_of(model))};
  if (name == "scales") return {Format::float32, true};
  for (std::size_t i = 0; i < kFormatCount; ++i)
    if (name == kFormats[i].name) return {static_cast<Format>(i)};
  throw std::invalid_argument("layout: expected native, scales or a format, got " + name);
}

}  // namespace fusedstep::bindings
