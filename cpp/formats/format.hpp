// How numbers are stored, and the type in which steps over them are computed.
#pragma once

#include <cstddef>

#include "numeric/host_device.hpp"

namespace fusedstep {

// What a kernel computes in.
enum class Compute : unsigned char { float32, float64 };
constexpr std::size_t kComputes = 2;

// What an array holds: a row of kFormats.
enum class Format : unsigned char { float32, float64, bfloat16 };

struct FormatInfo {
  const char* name;   // as NumPy and torch call it
  Compute compute;    // what it is widened to
  bool native;        // stored as it is computed: a kernel reads it where it lies
  bool param;         // whether parameters, gradients and state may have it
  std::size_t bytes;  // of an element
};

// One row per format, in the order of the enumeration.
constexpr FormatInfo kFormats[] = {
    {"float32", Compute::float32, true, true, 4},
    {"float64", Compute::float64, true, true, 8},
    {"bfloat16", Compute::float32, false, false, 2},
};

constexpr const FormatInfo& info_of(Format format) {
  return kFormats[static_cast<std::size_t>(format)];
}
constexpr const char* name_of(Format format) { return info_of(format).name; }
constexpr Compute compute_of(Format format) { return info_of(format).compute; }
constexpr std::size_t bytes_of(Format format, std::size_t elements) {
  return elements * info_of(format).bytes;
}

// Some elements, wherever they lie. How many is for the owner to know.
struct Array {
  void* data = nullptr;    // null: no array
  void* scales = nullptr;  // of blocks of elements, where the format has any
  Format format = Format::float32;

  FUSEDSTEP_HD explicit operator bool() const { return data != nullptr; }
};

}  // namespace fusedstep
