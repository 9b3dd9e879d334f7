// The first values of state, written by the threads that a step will have for the same stretches:
// a page belongs to the memory of the CPU that touches it first.
#pragma once

#include <cstddef>
#include <vector>

#include "formats/format.hpp"

namespace fusedstep {

struct FilledArray {
  Array to;
  std::size_t size;  // elements
  const void* from;  // as many bytes, which it is a copy of; null: all elements are one value
};

void fill(const std::vector<FilledArray>& arrays, double value);

}  // namespace fusedstep
