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
  const void* from;  // copied from here; null: filled with one value
};

void fill(const std::vector<FilledArray>& arrays, double value);

}  // namespace fusedstep
