// The first values of state, written by the threads that a step will have for the same stretches:
// a page belongs to the memory of the CPU that touches it first.
#pragma once

#include <vector>

#include "kernel/kernel_table.hpp"
#include "memory.hpp"

namespace fusedstep {

struct FilledArray {
  Extent extent;  // to be written
  DType dtype;
  const void* from;  // as many bytes, which it is a copy of; null: all elements are one value
};

void fill(const std::vector<FilledArray>& arrays, double value);

}  // namespace fusedstep
