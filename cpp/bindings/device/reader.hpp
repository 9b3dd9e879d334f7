// Reads objects that stand for memory on a CUDA device: torch's and CuPy's by their own attributes,
// others through __cuda_array_interface__ or DLPack.
#pragma once

#include <cstdint>
#include <string>

#include "bindings/description.hpp"
#include "bindings/exchange.hpp"
#include "cuda/runtime.hpp"

namespace fusedstep::bindings {

// Whether it is an array of CuPy, which is not imported for that.
bool is_cupy(py::handle object);

// Work on `stream` may read the array from then on. `expected`: what a refusal says was.
Description read_device_array(py::handle object, const Subject& subject,
                              const std::string& expected, cuda::Stream stream);

// Which rows: checked, and copied to the host, which waits for the device.
Description read_indices(py::handle indices, const Subject& subject, cuda::Stream stream);

// Throws while a CUDA graph is captured on the stream, because `what` waits for the device.
void refuse_while_capturing(const std::string& what, cuda::Stream stream);

// The address that an object has now; -1 where Python raised, and nothing is raised on.
std::intptr_t address_now(py::handle object, Origin origin);

}  // namespace fusedstep::bindings
