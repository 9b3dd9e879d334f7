// What narrow arrays hold, for reading.
#pragma once

#include <cstddef>

#include "formats/format.hpp"

namespace fusedstep {

// The numbers of an array of `size` elements, which are not float64. Of a parameter, together with
// its correction, if that is not absent.
void decode(const Array& from, const Array& correction, std::size_t size, float* to);

}  // namespace fusedstep
