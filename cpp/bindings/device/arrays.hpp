// Checked arrays on a CUDA device.
#pragma once

#include <string>

#include "bindings/check.hpp"
#include "reader.hpp"

namespace fusedstep::bindings {

struct DeviceArray : CheckedArray {
  int device = -1;  // -1: an empty array, which fits anywhere
  Origin origin = Origin::interface;
  bool is_writeable = false;
  // Of parameters and what is read slowly; a gradient's are its parameter's.
  Sizes shape, strides;
  py::object own_dtype, own_shape;  // torch's and CuPy's, to compare others with

  DeviceArray() = default;
  DeviceArray(Description&& description, Format format);
};

// What the functions of these names in host/arrays.hpp do.
DeviceArray check_numbers(py::handle object, const Subject& subject, bool writeable,
                          cuda::Stream stream);
// An array of any dtype that the optimizer holds.
DeviceArray check_held(py::handle object, const Subject& subject, cuda::Stream stream);
// Of NumPy arrays with the same bytes: integers where NumPy has no dtype of theirs.
py::dtype dtype_on_host(const DeviceArray& array);
DeviceArray check_like(py::handle object, const DeviceArray& target, Expected expected,
                       const Subject& subject, cuda::Stream stream);
DeviceArray one_axis(const DeviceArray& param, std::size_t size);
DeviceArray one_a_row(const DeviceArray& param, const Subject& subject,
                      const std::string& what_for);
Model model_of(const DeviceArray& array);
void check_beside(const DeviceArray& first, const std::string& first_name, const DeviceArray& array,
                  const Subject& subject);
// For torch's and CuPy's arrays beside one of the same library.
bool take_matching(py::handle object, const DeviceArray& target, const Acquaintance& known,
                   DeviceArray& out);
// torch's and CuPy's arrays report their address; one with __cuda_array_interface__ is asked for it
// again; the memory of a DLPack capsule cannot move.
inline bool must_be_asked(const DeviceArray& checked) {
  return checked.size != 0 && !checked.look && checked.origin != Origin::dlpack;
}
void ask(const DeviceArray& checked, const Subject& subject);
void check_unchanged(const DeviceArray& checked, const Subject& subject, bool writeable);

// NumPy copies, in the array's memory order; both ways the bytes are the array's own.
py::array copy_out_of(const DeviceArray& array, cuda::Stream stream);
void copy_into(const DeviceArray& array, const py::array& value, cuda::Stream stream);
// A working copy, which the host rounds.
void copy_rounded(const DeviceArray& copy, const DeviceArray& param, cuda::Stream stream);
// Exchanges the contents of arrays with as many others as there are.
void exchange(const std::vector<DeviceArray>& arrays, const std::vector<DeviceArray>& others,
              cuda::Stream stream);

}  // namespace fusedstep::bindings
