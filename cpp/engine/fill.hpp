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
  // Copied from here, of the same format, or where one of both is float32 and the other a narrower
  // number: exactly, or rounded to nearest. Absent: filled with one value.
  Array from = {};
};

void fill(const std::vector<FilledArray>& arrays, double value);

}  // namespace fusedstep
