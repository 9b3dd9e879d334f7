// The arrays of an optimizer: checked when they come, kept alive, looked at again before a step.
//
// A Space says where arrays live. It has the types Engine, Array (what passed the checks, with
// `owner`, `data`, `size`, `dtype` and extent()), Rows and ScaleArgument, and the checks that
// HostSpace has.
#pragma once

#include <pybind11/stl.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "../overlap.hpp"
#include "../roster.hpp"
#include "messages.hpp"
#include "narrow.hpp"

namespace fusedstep::bindings {

// The arrays of a tensor that are written: the parameter, its states, its average, its copy.
constexpr std::size_t kAverage = 1 + kMaxStates, kCopy = 2 + kMaxStates, kSlots = 3 + kMaxStates;

constexpr const char* kInUse = "the optimizer is in use by another call";

inline std::size_t rule_index(const std::string& name) {
  for (std::size_t i = 0; i < registry().size(); ++i)
    if (name == registry()[i].name) return i;
  throw std::invalid_argument("no compiled rule is called '" + name + "'");
}

// A parameter with its states (in the order of RuleInfo.states), group, average and working copy
// (or None).
using Entry = std::tuple<std::string, py::object, std::vector<py::object>, std::size_t, py::object,
                         py::object>;

template <class Space>
class Members {
 public:
  using Array = typename Space::Array;

  Members(const std::string& rule, std::string gradient, std::string like, Space here)
      : space(std::move(here)),
        engine(rule_index(rule)),
        gradient_(std::move(gradient)),
        like_(std::move(like)) {}

  // New groups and their tensors, all or none: what can fail comes before the first change.
  void add(const std::vector<Group>& groups, const std::vector<Entry>& entries) {
    Addition addition{groups, {}, {}, {}, {}, occupied};
    for (const Entry& entry : entries) check_entry(entry, addition);
    for (std::size_t i = 0; i < groups.size(); ++i)
      check_group(groups[i], engine.groups().size() + i, addition.tensors);
    engine.reserve(groups.size(), addition.tensors.size());
    params.reserve(params.size() + addition.params.size());
    states.reserve(states.size() + addition.states.size());
    copies_.reserve(copies_.size() + addition.copies.size());
    for (Tensor& tensor : addition.tensors) engine.add(std::move(tensor));
    for (const Group& group : groups) engine.groups().push_back(group);
    append(params, addition.params);
    append(states, addition.states);
    append(copies_, addition.copies);
    occupied = std::move(addition.occupied);
  }

  // Whether all numbers of a group, by its number, are numbers to these tensors of it.
  void check_group(const Group& group, std::size_t number,
                   const std::vector<Tensor>& tensors) const {
    if (const auto misfit = misfit_of(engine.rule(), group))
      refuse_misfit(*misfit, tensors, [&](const Tensor& t) { return t.group == number; });
  }

  // `coming`: tensors that add() has not handed over yet.
  void refuse_overlap(const Occupied& ranges, const Array& array, const Subject& subject,
                      const std::vector<Tensor>& coming) const {
    const Occupied::Range* const other = ranges.find(array.extent());
    if (other == nullptr) return;
    const std::size_t index = other->owner / kSlots, slot = other->owner % kSlots;
    const std::size_t here = engine.tensors().size();
    const Tensor& owner = index < here ? engine.tensors()[index] : coming[index - here];
    const std::string role = role_of(slot);
    throw py::value_error(subject.text() +
                          ": expected memory of its own, got memory that overlaps " +
                          Subject{role.c_str(), owner.name}.text());
  }

  Subject gradient_subject(std::size_t tensor) const {
    return {gradient_.c_str(), engine.tensors()[tensor].name, like_.c_str()};
  }

  // What the step writes, but for the states: their memory is ours.
  void check_written() const {
    const bool rowwise = engine.rule().rowwise;
    for (std::size_t i = 0; i < params.size(); ++i) {
      const Subject subject{"parameter", engine.tensors()[i].name};
      space.check_unchanged(params[i], subject, true);
      if (rowwise) space.check_rows_unchanged(params[i], subject);
    }
    for (const auto& [tensor, copy] : copies_)
      space.check_unchanged(copy, {"working copy of", engine.tensors()[tensor].name}, true);
  }

  // A user may still have locked the views of the states.
  void check_states() const {
    std::size_t at = 0;
    for (const Tensor& tensor : engine.tensors()) {
      const States& names = engine.rule().states[engine.groups()[tensor.group].variant];
      for (std::size_t k = 0; k < names.size(); ++k)
        if (names.state[k].used) check_state(states[at++], tensor, 1 + k);
      if (tensor.average != nullptr) check_state(states[at++], tensor, kAverage);
    }
  }

  // A saved value in the dtype and order of what it is to replace, so that writing it cannot fail;
  // copied where it is memory that is written before it is read.
  py::array ready_value(const Array& target, const py::array& value) const {
    const char* const order = (target.order & py::array::c_style) != 0 ? "C" : "F";
    py::array result =
        py::module_::import("numpy").attr("asarray")(value, name_of(target.dtype), order);
    const auto size = static_cast<std::size_t>(result.size());
    if (size != target.size) throw std::invalid_argument("a value has its array's shape");
    const Extent extent{const_cast<void*>(result.data()), size * target.item};
    if (occupied.find(extent) != nullptr) result = result.attr("copy")("K");
    return result;
  }

  Space space;
  typename Space::Engine engine;
  std::vector<Array> params;
  std::vector<Array> states;  // of each tensor, and its average
  Occupied occupied;          // by all that is written

 private:
  using Copies = std::vector<std::pair<std::size_t, Array>>;  // with their tensors' numbers

  // What add() has checked and not yet made its own.
  struct Addition {
    const std::vector<Group>& groups;
    std::vector<Tensor> tensors;
    std::vector<Array> params, states;
    Copies copies;
    Occupied occupied;
  };

  template <class T>
  static void append(std::vector<T>& to, std::vector<T>& from) {
    static_assert(std::is_nothrow_move_constructible_v<T>);
    for (T& one : from) to.push_back(std::move(one));
  }

  void check_entry(const Entry& entry, Addition& addition) const {
    const auto& [name, param, own, group, average, copy] = entry;
    const std::size_t groups = engine.groups().size();
    // A group that is not new came by another thread's call, between the caller's look and this.
    if (group < groups) throw std::runtime_error(kInUse);
    const std::size_t index = params.size() + addition.params.size();
    const Subject subject{"parameter", name};
    const Array target =
        addition.params.emplace_back(space.check_numbers(param, subject, /*writeable=*/true));
    check_beside_first(target, subject, addition);
    addition.tensors.push_back({name, target.data, target.size, target.dtype, {}, group});
    Tensor& tensor = addition.tensors.back();
    const RuleInfo& rule = engine.rule();
    const Array model = rule.rowwise ? space.one_a_row(target, subject, rule.name) : target;
    if (rule.rowwise) tensor.row_size = model.size == 0 ? 0 : target.size / model.size;
    const auto claim = [&](const Array& array, const Subject& what, std::size_t slot) {
      refuse_overlap(addition.occupied, array, what, addition.tensors);
      addition.occupied.insert(array.extent(), index * kSlots + slot);
      return array.data;
    };
    const auto claim_companion = [&](const py::object& object, std::size_t slot) {
      const std::string role = role_of(slot);
      const bool of_rows = rule.rowwise && slot != kAverage;
      const Subject what{role.c_str(), name, of_rows ? "its parameter's rows" : "its parameter"};
      addition.states.push_back(
          space.check_like(object, of_rows ? model : target, what, /*writeable=*/true));
      return claim(addition.states.back(), what, slot);
    };
    claim(target, subject, 0);
    const States& names = rule.states[addition.groups.at(group - groups).variant];
    if (own.size() != names.used()) throw std::invalid_argument("a state too few or too many");
    for (std::size_t k = 0, given = 0; k < names.size(); ++k)
      if (names.state[k].used) tensor.state[k] = claim_companion(own[given++], 1 + k);
    if (!average.is_none()) tensor.average = claim_companion(average, kAverage);
    if (!copy.is_none()) {
      const Subject what{"working copy of", name};
      addition.copies.emplace_back(index, space.check_copy(copy, target, what));
      tensor.copy = static_cast<std::uint16_t*>(claim(addition.copies.back().second, what, kCopy));
    }
  }

  // All parameters are where the first one is that is somewhere.
  void check_beside_first(const Array& array, const Subject& subject,
                          const Addition& addition) const {
    const auto holds = [](const Array& other) { return other.size != 0; };  // empty: is nowhere
    const auto here = std::find_if(params.begin(), params.end(), holds);
    const auto& coming = addition.params;  // `array` among them, as the last
    const auto next = std::find_if(coming.begin(), coming.end() - 1, holds);
    if (here != params.end())
      space.check_beside(*here, engine.tensors()[std::size_t(here - params.begin())].name, array,
                         subject);
    else if (next != coming.end() - 1)
      space.check_beside(*next, addition.tensors[std::size_t(next - coming.begin())].name, array,
                         subject);
  }

  // What messages call the arrays of a tensor.
  std::string role_of(std::size_t slot) const {
    if (slot == 0) return "parameter";
    if (slot == kAverage) return "average of";
    if (slot == kCopy) return "working copy of";
    return std::string(engine.rule().states[0].state[slot - 1].name) + " of";
  }

  void check_state(const Array& state, const Tensor& tensor, std::size_t slot) const {
    const std::string role = role_of(slot);
    space.check_unchanged(state, {role.c_str(), tensor.name}, true);
  }

  std::string gradient_, like_;  // what messages call a gradient and what it must resemble
  Copies copies_;
};

}  // namespace fusedstep::bindings
