// How an object that stands for memory on a CUDA device is read: torch's and CuPy's by their own
// attributes, others through __cuda_array_interface__ or DLPack.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cuda/runtime.hpp"
#include "exchange.hpp"

namespace fusedstep::bindings {

enum class Origin : unsigned char { torch, cupy, interface, dlpack };

// What an object says of itself; nothing is checked but that there is a device.
struct DeviceObject {
  Origin origin = Origin::interface;
  void* data = nullptr;
  std::vector<py::ssize_t> shape, strides;  // strides in bytes
  std::string dtype;                        // as NumPy calls it
  std::size_t item = 1;                     // bytes of one element
  int device = -1;                          // of an empty array it may stay unknown
  bool writeable = true;
  py::object capsule;  // what holds the memory, where it came through DLPack

  std::size_t size() const;
  std::string shape_text() const;
  std::string layout_text() const;
};

// Whether it is an array of CuPy, which is not imported for that.
bool is_cupy(py::handle object);

// Work on `stream` may read the object from then on. `expected`: what a refusal says was.
DeviceObject read_object(py::handle object, const Subject& subject, const std::string& expected,
                         cuda::Stream stream);

// A graph is recorded without a look at what happens in it: `what` would wait for the device.
void refuse_while_capturing(const std::string& what, cuda::Stream stream);

// The address that an object has now; -1 where Python raised, and nothing is raised on.
std::intptr_t address_now(py::handle object, Origin origin);

}  // namespace fusedstep::bindings
