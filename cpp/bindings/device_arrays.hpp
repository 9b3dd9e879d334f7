// What may be handed to a kernel on a CUDA device, with the words that the CPU's checks use.
#pragma once

#include <pybind11/numpy.h>

#include <string>
#include <vector>

#include "device_objects.hpp"
#include "engine/memory.hpp"
#include "kernel/kernel_table.hpp"

namespace fusedstep::bindings {

// An array that passed the checks, with all that a later step needs to see that it has not changed.
struct DeviceArray {
  py::object owner;   // as it was handed over
  py::object source;  // the capsule that holds it, where it came through DLPack
  void* data = nullptr;
  std::size_t size = 0;
  std::size_t item = 0;            // bytes of one element
  Format dtype = Format::float32;  // not of working copies
  int order = 0;                   // NumPy's flags of C and Fortran order
  int device = -1;                 // -1: an empty array, which fits anywhere
  Origin origin = Origin::interface;
  bool writeable = false;
  // Of parameters and what is read slowly; a gradient's are its parameter's.
  std::vector<py::ssize_t> shape;
  py::object own_dtype, own_shape;  // torch's and CuPy's, to compare others with

  Array stored() const { return {data, nullptr, dtype}; }
  Extent extent() const { return {data, size * item}; }
};

std::string device_text(int device);  // "cuda:0"

// What the functions of these names in arrays.hpp do.
DeviceArray check_numbers(py::handle object, const Subject& subject, bool writeable,
                          cuda::Stream stream);
DeviceArray check_companion(py::handle object, const DeviceArray& target, const Subject& subject,
                            bool writeable, cuda::Stream stream);
DeviceArray one_a_row(const DeviceArray& param, const Subject& subject,
                      const std::string& what_for);
[[noreturn]] void refuse_rows(const DeviceArray& param, const Subject& subject,
                              const std::string& what_for);
DeviceArray check_copy(py::handle object, const DeviceArray& target, const Subject& subject,
                       cuda::Stream stream);
void check_beside(const DeviceArray& first, const std::string& first_name, const DeviceArray& array,
                  const Subject& subject);
// For torch's and CuPy's arrays beside one of the same library.
bool take_twin(py::handle object, const DeviceArray& target, DeviceArray& out);
// torch's and CuPy's arrays tell their address; one with __cuda_array_interface__ is asked for it
// again; what DLPack lent cannot move.
void check_unchanged(const DeviceArray& checked, const Subject& subject, bool writeable);

// NumPy copies, in the array's memory order; both ways the bytes are the array's own.
py::array copy_out_of(const DeviceArray& array, cuda::Stream stream);
void copy_into(const DeviceArray& array, const py::array& value, cuda::Stream stream);

}  // namespace fusedstep::bindings
