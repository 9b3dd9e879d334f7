// Initial values of state, written by the threads that will step over the same ranges: first touch
// places a page on the NUMA node of the writing CPU.
#pragma once

#include <cstddef>
#include <vector>

#include "formats/format.hpp"

namespace fusedstep {

struct FilledArray {
  Array to;
  std::size_t size;  // elements
  // Copied from here, of the same format, or float32 that is rounded to bfloat16. Null: filled with
  // one value.
  const void* from;
};

void fill(const std::vector<FilledArray>& arrays, double value);

}  // namespace fusedstep
