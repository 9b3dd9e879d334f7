// What an array says of itself, whichever library it is from. A reader for each space fills it
// (host/reader.hpp, device/reader.hpp); check.hpp judges it.
#pragma once

#include <pybind11/numpy.h>

#include <cstddef>
#include <string>

#include "exchange.hpp"
#include "messages.hpp"
#include "strides.hpp"

namespace fusedstep::bindings {

// How the array was read: `numpy` on the host, all others on a CUDA device.
enum class Origin : unsigned char { numpy, torch, cupy, interface, dlpack };

struct Description {
  Origin origin = Origin::numpy;
  py::object owner;   // NumPy's array; on a device, the object that was passed
  py::object source;  // what else holds the memory: the object viewed, or a DLPack capsule
  // How the object that was passed says in C where its memory is; null: only to foreign code.
  dlpack::Describe look = nullptr;
  void* data = nullptr;
  Sizes shape, strides;       // strides in bytes
  std::string dtype;          // its name in NumPy
  std::string dtype_in_full;  // with byte order and fields, where that is more than the name
  std::size_t item = 1;       // bytes of one element
  int order = 0;
  int device = -1;        // -1: the host, or unknown, as it may be of an empty array
  bool is_native = true;  // byte order
  bool is_writeable = true;

  bool is_on_device() const { return origin != Origin::numpy; }
  std::size_t size() const;
  const std::string& dtype_text() const { return dtype_in_full.empty() ? dtype : dtype_in_full; }
  std::string layout_text() const;
};

// A value of the same shape in a dtype, without gaps, its axes in memory in the order of these
// strides; copied where it is not so already.
py::array in_order_of(const Sizes& strides, const py::array& value, const py::object& dtype);
// For messages: "a contiguous array in C order", or with which strides.
std::string order_text(const Sizes& shape, const Sizes& strides, std::size_t item);

std::string tuple_text(const Sizes& sizes);  // "(2, 3)"
std::string device_text(int device);         // "cuda:0"

}  // namespace fusedstep::bindings
