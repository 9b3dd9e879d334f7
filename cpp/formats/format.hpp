// Storage formats, and the type that steps over each are computed in.
#pragma once

#include <cstddef>

#include "numeric/host_device.hpp"

namespace fusedstep {

// The type a kernel computes in.
enum class Compute : unsigned char { float32, float64 };
constexpr std::size_t kComputes = 2;

// The element type of an array; indexes kFormats.
enum class Format : unsigned char { float32, float64, bfloat16 };

struct FormatInfo {
  const char* name;   // as in NumPy and torch
  Compute compute;    // the type it is widened to
  bool native;        // stored as computed: kernels step over it in place, as they do over
                      // parameters, gradients and state
  std::size_t bytes;  // per element
};

// One entry per format, in the order of the enumeration.
constexpr FormatInfo kFormats[] = {
    {"float32", Compute::float32, true, 4},
    {"float64", Compute::float64, true, 8},
    {"bfloat16", Compute::float32, false, 2},
};

constexpr std::size_t kFormatCount = sizeof kFormats / sizeof *kFormats;

constexpr const FormatInfo& info_of(Format format) {
  return kFormats[static_cast<std::size_t>(format)];
}
constexpr const char* name_of(Format format) { return info_of(format).name; }
constexpr Compute compute_of(Format format) { return info_of(format).compute; }
constexpr std::size_t bytes_of(Format format, std::size_t elements) {
  return elements * info_of(format).bytes;
}

// A pointer with its format; the owner knows the number of elements.
struct Array {
  void* data = nullptr;    // null: no array
  void* scales = nullptr;  // per-block scales, for formats that have them
  Format format = Format::float32;

  FUSEDSTEP_HD explicit operator bool() const { return data != nullptr; }
};

}  // namespace fusedstep
