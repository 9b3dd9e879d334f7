// Storage formats, and the type that steps over each are computed in.
#pragma once

#include <cstddef>

#include "codes.hpp"
#include "numeric/host_device.hpp"

namespace fusedstep {

// The type a kernel computes in.
enum class Compute : unsigned char { float32, float64 };
constexpr std::size_t kComputes = 2;

// The element type of an array; indexes kFormats.
enum class Format : unsigned char {
  float32,
  float64,
  bfloat16,
  float16,
  signed8,       // codes.hpp: blocks of elements that share a scale
  unsigned8,     //
  correction16,  // of a parameter (SplitCodec)
  correction8,
};

struct FormatInfo {
  const char* name;   // as in NumPy and torch, where they know it
  Compute compute;    // the type it is widened to
  bool native;        // stored as computed: kernels step over it in place; others pass through L1
  bool number;        // parameters and gradients may have it
  std::size_t bytes;  // per element
  std::size_t block;  // elements that share a scale
};

// One entry per format, in the order of the enumeration.
constexpr FormatInfo kFormats[] = {
    {"float32", Compute::float32, true, true, 4, 1},
    {"float64", Compute::float64, true, true, 8, 1},
    {"bfloat16", Compute::float32, false, true, 2, 1},
    {"float16", Compute::float32, false, true, 2, 1},
    {"signed8", Compute::float32, false, false, 1, kBlock},
    {"unsigned8", Compute::float32, false, false, 1, kBlock},
    {"correction16", Compute::float32, false, false, 2, 1},
    {"correction8", Compute::float32, false, false, 1, 1},
};

constexpr std::size_t kFormatCount = sizeof kFormats / sizeof *kFormats;

constexpr const FormatInfo& info_of(Format format) {
  return kFormats[static_cast<std::size_t>(format)];
}
constexpr const char* name_of(Format format) { return info_of(format).name; }
constexpr Compute compute_of(Format format) { return info_of(format).compute; }
constexpr bool is_native(Format format) { return info_of(format).native; }
constexpr std::size_t bytes_of(Format format, std::size_t elements) {
  return elements * info_of(format).bytes;
}
constexpr std::size_t scales_of(Format format, std::size_t elements) {
  return info_of(format).block == 1 ? 0 : (elements + kBlock - 1) / kBlock;
}

// Calls visit(codec) for a format of 16 bits, and returns what it returns.
template <class Visit>
FUSEDSTEP_HD auto with_codec(Format format, Visit visit) {
  return format == Format::float16 ? visit(Float16Codec{}) : visit(Bfloat16Codec{});
}

// A pointer with its format; the owner knows the number of elements.
struct Array {
  void* data = nullptr;     // null: no array
  float* scales = nullptr;  // one per block, for formats that have them
  Format format = Format::float32;

  FUSEDSTEP_HD explicit operator bool() const { return data != nullptr; }
};

}  // namespace fusedstep
