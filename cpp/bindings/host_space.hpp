// Arrays in the memory of the CPU: NumPy's, and what NumPy can view.
#pragma once

#include <cstring>

#include "arrays.hpp"
#include "engine/stepper.hpp"
#include "rows.hpp"

namespace fusedstep::bindings {

struct HostSpace {
  using Engine = Stepper;
  using Array = CheckedArray;
  using ScaleArgument = double;

  static Scale scale_of(double value) { return {value}; }

  static CheckedArray check_numbers(py::handle object, const Subject& subject, bool writeable) {
    return bindings::check_numbers(object, subject, writeable);
  }
  static CheckedArray check_companion(py::handle object, const CheckedArray& target,
                                      const Subject& subject, bool writeable) {
    return bindings::check_companion(object, target, subject, writeable);
  }
  static CheckedArray check_copy(py::handle object, const CheckedArray& target,
                                 const Subject& subject) {
    return bindings::check_copy(object, target, subject);
  }
  static CheckedArray one_a_row(const CheckedArray& param, const Subject& subject,
                                const std::string& what_for) {
    return bindings::one_a_row(param, subject, what_for);
  }
  // There is one host.
  static void check_beside(const CheckedArray&, const std::string&, const CheckedArray&,
                           const Subject&) {}
  static CheckedRows<CheckedArray> check_rows(py::handle indices, py::handle rows,
                                              const CheckedArray& param, const std::string& name) {
    return bindings::check_rows(indices, rows, param, name);
  }
  static bool take_twin(py::handle object, const CheckedArray& target, CheckedArray& out) {
    return bindings::take_twin(object, target, out);
  }
  static void check_unchanged(const CheckedArray& checked, const Subject& subject, bool writeable) {
    bindings::check_unchanged(checked, subject, writeable);
  }
  static void check_rows_unchanged(const CheckedArray& checked, const Subject& subject) {
    bindings::check_rows_unchanged(checked, subject);
  }

  static py::object copy_of(const CheckedArray& array) { return array.owner.attr("copy")("K"); }
  // The value is as Members::ready_value() makes it.
  static void assign(const CheckedArray& array, const py::array& value) {
    const void* const from = value.data();
    const py::gil_scoped_release unlocked;
    if (array.size != 0) std::memcpy(array.data, from, array.size * array.item);
  }

  // Of a device alone: it hears where it is to work, and who shall know what came of it.
  static void enter(Engine&, const std::vector<CheckedArray>&) {}
  static void expect_outcome(Engine&) {}
  static void groups_changed(Engine&) {}
  static bool knows_counters(const Engine&) { return true; }
  // What a step has to say, and None where nobody asked.
  static py::object result(const StepResult& result) {
    if (!result.grad_norm) return py::none();
    return py::make_tuple(result.applied, *result.grad_norm);
  }
};

}  // namespace fusedstep::bindings
