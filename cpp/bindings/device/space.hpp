// Arrays on a CUDA device.
#pragma once

#include "arrays.hpp"
#include "bindings/host/reader.hpp"
#include "bindings/rows.hpp"
#include "cuda/stepper.hpp"

namespace fusedstep::bindings {

// The functions that HostSpace has.
class DeviceSpace {
 public:
  using Engine = cuda::Stepper;
  using Array = DeviceArray;
  using ScaleArgument = py::object;

  // `current_stream()` is the number of the stream that calls are to run on; `scalar(dtype)` makes
  // an array of one "bool" or "float64" beside the parameters.
  DeviceSpace(py::function current_stream, py::function scalar)
      : current_stream_(std::move(current_stream)), scalar_(std::move(scalar)) {}

  // Every call asks which stream is current, under the lock of its optimizer.
  void enter(Engine& engine, const std::vector<DeviceArray>& params);
  // Makes the arrays that a step writes its result to; none where it measures nothing.
  void prepare_result(Engine& engine);
  static bool knows_counters(const Engine& engine) { return engine.knows_counters(); }

  Scale scale_of(const py::object& value);

  DeviceArray check_numbers(py::handle object, const Subject& subject, bool writeable) const {
    return bindings::check_numbers(object, subject, writeable, stream_);
  }
  DeviceArray check_like(py::handle object, const DeviceArray& target, Expected expected,
                         const Subject& subject) const {
    return bindings::check_like(object, target, expected, subject, stream_);
  }
  static DeviceArray one_axis(const DeviceArray& param, std::size_t size) {
    return bindings::one_axis(param, size);
  }
  static DeviceArray one_a_row(const DeviceArray& param, const Subject& subject,
                               const std::string& what_for) {
    return bindings::one_a_row(param, subject, what_for);
  }
  static void check_beside(const DeviceArray& first, const std::string& first_name,
                           const DeviceArray& array, const Subject& subject) {
    bindings::check_beside(first, first_name, array, subject);
  }
  // NumPy's or listed, or on the device: then they are copied, which waits for it.
  Description read_indices(py::handle indices, const Subject& subject) const {
    return is_listed(indices) || py::isinstance<py::array>(indices)
               ? bindings::read_indices(indices, subject)
               : bindings::read_indices(indices, subject, stream_);
  }
  // Arrays of a library with another current stream go the slow way, which waits.
  bool take_matching(py::handle object, const DeviceArray& target, const Acquaintance& known,
                     DeviceArray& out) const {
    return target.origin == origin_ && bindings::take_matching(object, target, known, out);
  }
  static void ask(const DeviceArray& checked, const Subject& subject) {
    bindings::ask(checked, subject);
  }
  static void check_unchanged(const DeviceArray& checked, const Subject& subject, bool writeable) {
    bindings::check_unchanged(checked, subject, writeable);
  }
  static bool is_movable(const DeviceArray&) { return false; }             // too slow to be asked
  static void check_rows_unchanged(const DeviceArray&, const Subject&) {}  // its shape is kept

  py::array view_of(const DeviceArray& array) const { return copy_out_of(array, stream_); }
  void assign(const DeviceArray& array, const py::array& value) const {
    copy_into(array, value, stream_);
  }

  void write_copies(
      const std::vector<std::pair<const DeviceArray*, const DeviceArray*>>& copies) const {
    for (const auto& [to, from] : copies) copy_rounded(*to, *from, stream_);
  }
  void exchange(const std::vector<DeviceArray>& arrays,
                const std::vector<DeviceArray>& others) const {
    bindings::exchange(arrays, others, stream_);
  }

  static void groups_changed(Engine& engine) { engine.publish_groups(); }
  // The arrays that the step writes, unread; None where it measures nothing.
  py::object result(const StepResult&) const {
    return applied_.is_none() ? py::object(py::none()) : py::make_tuple(applied_, grad_norm_);
  }

  void visit(Visitor& visitor) const {
    for (const py::object* one : std::initializer_list<const py::object*>{
             &current_stream_, &scalar_, &applied_, &grad_norm_, &scale_})
      visitor(*one);
  }

 private:
  template <class T>
  T* address_of(const py::object& scalar, const std::string& name) const;

  py::function current_stream_, scalar_;
  cuda::Stream stream_ = nullptr;
  int device_ = -1;                    // of the parameters
  Origin origin_ = Origin::interface;  // of the first parameter, whose library's stream it is
  py::object applied_ = py::none(), grad_norm_ = py::none();
  py::object scale_;  // what the last step read its scale from
};

}  // namespace fusedstep::bindings
