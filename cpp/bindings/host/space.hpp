// Arrays in the memory of the CPU: NumPy's, and what NumPy can view.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "bindings/rows.hpp"
#include "bindings/unlocked.hpp"
#include "engine/fill.hpp"
#include "engine/stepper.hpp"
#include "reader.hpp"

namespace fusedstep::bindings {

struct HostSpace {
  using Engine = Stepper;
  using Array = HostArray;
  using ScaleArgument = double;

  static Scale scale_of(double value) { return {value}; }

  static HostArray check_numbers(py::handle object, const Subject& subject, bool writeable) {
    return bindings::check_numbers(object, subject, writeable);
  }
  static HostArray check_like(py::handle object, const HostArray& target, Expected expected,
                              const Subject& subject) {
    return bindings::check_like(object, target, expected, subject);
  }
  static HostArray one_axis(const HostArray& param, std::size_t size) {
    return bindings::one_axis(param, size);
  }
  static HostArray one_a_row(const HostArray& param, const Subject& subject,
                             const std::string& what_for) {
    return bindings::one_a_row(param, subject, what_for);
  }
  // There is one host.
  static void check_beside(const HostArray&, const std::string&, const HostArray&, const Subject&) {
  }
  static Description read_indices(py::handle indices, const Subject& subject) {
    return bindings::read_indices(indices, subject);
  }
  static bool take_matching(py::handle object, const HostArray& target, const Acquaintance& known,
                            HostArray& out) {
    return bindings::take_matching(object, target, known, out);
  }
  static void ask(const HostArray& checked, const Subject& subject) {
    bindings::ask(checked, subject);
  }
  static void check_unchanged(const HostArray& checked, const Subject& subject, bool writeable) {
    bindings::check_unchanged(checked, subject, writeable);
  }
  static bool is_movable(const HostArray& checked) { return bindings::is_movable(checked); }
  static void check_rows_unchanged(const HostArray& checked, const Subject& subject) {
    bindings::check_rows_unchanged(checked, subject);
  }

  static py::array view_of(const HostArray& array) {
    const Model model = model_of(array);
    return {py::dtype(held_dtype(array.format)), model.shape, model.strides, array.data,
            array.owner};
  }
  // The value is as Members makes it ready.
  static void assign(const HostArray& array, const py::array& value) {
    const void* const from = value.data();
    const Unlocked unlocked;
    if (array.size != 0) std::memcpy(array.data, from, array.size * array.item);
  }

  static void visit(Visitor&) {}
  // All or none: what can fail precedes the first write.
  static void write_copies(
      const std::vector<std::pair<const HostArray*, const HostArray*>>& copies) {
    std::vector<FilledArray> arrays;
    for (const auto& [to, from] : copies)
      arrays.push_back({to->stored(), to->size, from->stored()});
    const Unlocked unlocked;
    fill(arrays, 0.0);
  }
  // Of equally many bytes each; there may be fewer of the second.
  static void exchange(const std::vector<HostArray>& arrays, const std::vector<HostArray>& others) {
    const Unlocked unlocked;
    for (std::size_t i = 0; i < others.size(); ++i) {
      auto* const first = static_cast<std::byte*>(arrays[i].data);
      std::swap_ranges(first, first + arrays[i].size * arrays[i].item,
                       static_cast<std::byte*>(others[i].data));
    }
  }

  // For a device alone: which stream a call runs on, and where a step writes what it reports.
  static void enter(Engine&, const std::vector<HostArray>&) {}
  static void prepare_result(Engine&) {}
  static void groups_changed(Engine&) {}
  static bool knows_counters(const Engine&) { return true; }
  // What a step reports: None where nobody asked.
  static py::object result(const StepResult& result) {
    if (!result.grad_norm) return py::none();
    return py::make_tuple(result.applied, *result.grad_norm);
  }
};

}  // namespace fusedstep::bindings
