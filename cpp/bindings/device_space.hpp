// Arrays on a CUDA device.
#pragma once

#include "../cuda/stepper.hpp"
#include "device_arrays.hpp"
#include "rows.hpp"

namespace fusedstep::bindings {

// The functions that HostSpace has.
class DeviceSpace {
 public:
  using Engine = cuda::Stepper;
  using Array = DeviceArray;
  using ScaleArgument = py::object;

  // Where the next step runs, and where it leaves its outcome (or None).
  cuda::Stream stream = nullptr;
  py::object applied = py::none(), grad_norm = py::none();
  int device = -1;  // of the parameters

  Scale scale_of(const py::object& value);

  DeviceArray check_numbers(py::handle object, const Subject& subject, bool writeable) const {
    return bindings::check_numbers(object, subject, writeable, stream);
  }
  DeviceArray check_companion(py::handle object, const DeviceArray& target, const Subject& subject,
                              bool writeable) const {
    return bindings::check_companion(object, target, subject, writeable, stream);
  }
  DeviceArray check_copy(py::handle object, const DeviceArray& target,
                         const Subject& subject) const {
    return bindings::check_copy(object, target, subject, stream);
  }
  static DeviceArray one_a_row(const DeviceArray& param, const Subject& subject,
                               const std::string& what_for) {
    return bindings::one_a_row(param, subject, what_for);
  }
  static void check_beside(const DeviceArray& first, const std::string& first_name,
                           const DeviceArray& array, const Subject& subject) {
    bindings::check_beside(first, first_name, array, subject);
  }
  // `indices` may lie on the device: they are read, which waits for it.
  CheckedRows<DeviceArray> check_rows(py::handle indices, py::handle rows, const DeviceArray& param,
                                      const std::string& name) const;
  static bool take_twin(py::handle object, const DeviceArray& target, DeviceArray& out) {
    return bindings::take_twin(object, target, out);
  }
  static void check_unchanged(const DeviceArray& checked, const Subject& subject, bool writeable) {
    bindings::check_unchanged(checked, subject, writeable);
  }

  py::object copy_of(const DeviceArray& array) const { return copy_out_of(array, stream); }
  void assign(const DeviceArray& array, const py::array& value) const {
    copy_into(array, value, stream);
  }

  static void groups_changed(Engine& engine) { engine.publish_groups(); }
  // The arrays that the step writes, unread; None where it measures nothing.
  py::object result(const Outcome&) const {
    return applied.is_none() ? py::object(py::none()) : py::make_tuple(applied, grad_norm);
  }

 private:
  py::object scale_;  // what the last step read its scale from
};

}  // namespace fusedstep::bindings
