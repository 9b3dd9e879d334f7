// The arrays of an optimizer: checked when added, kept alive, rechecked before a step.
//
// A Space is where arrays live. It has the types Engine, Array (a checked array, with `owner`,
// `data`, `size`, `dtype` and extent()), Rows and ScaleArgument, and the checks of HostSpace.
#pragma once

#include <pybind11/numpy.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "check.hpp"
#include "collected.hpp"
#include "engine/overlap.hpp"
#include "engine/roster.hpp"
#include "messages.hpp"
#include "narrow.hpp"
#include "specs.hpp"

namespace fusedstep::bindings {

// The arrays of a tensor that a step writes: the parameter, its states and their scales, its
// correction, its average, its copy.
constexpr std::size_t kStates = 1, kScales = kStates + kMaxStates,
                      kCorrection = kScales + kMaxStates, kAverage = kCorrection + 1,
                      kCopy = kAverage + 1, kSlots = kCopy + 1;

template <class Space>
class Members {
 public:
  using Checked = typename Space::Array;

  Members(const std::string& rule, const std::string& gradient, std::string target, Space here)
      : space(std::move(here)),
        engine(rule_called(rule)),
        target_(std::move(target)),
        gradient_(gradient + " of"),
        gradients_(gradient + "s"),
        like_("its " + target_) {}

  // Adds groups and their tensors, all or none: everything that can fail precedes the first change.
  // `options` are those that the groups were made of.
  void add(const std::vector<Group>& groups, const std::vector<GroupOptions>& options,
           const std::vector<TensorSpec>& specs) {
    Addition addition{groups, options, {}, {}, {}, {}, {}, {}, {}, false};
    for (const TensorSpec& spec : specs) check_spec(spec, addition);
    if (const auto overlap = sort_by_address(addition.ranges))
      refuse_overlap(text_of_owner(overlap->first, addition.tensors), overlap->second,
                     addition.tensors);
    for (std::size_t i = 0; i < groups.size(); ++i)
      check_group(groups[i], engine.groups().size() + i, addition.tensors);
    engine.reserve(groups.size(), addition.tensors.size());
    reserve_more(params, addition.params.size());
    reserve_more(states, addition.states.size());
    reserve_more(owners_, addition.owners.size());
    reserve_more(movable_, addition.movable.size());
    reserve_more(copies_, addition.copies.size());
    auto written = occupied.prepare(std::move(addition.ranges));
    Renewals first;
    for (const auto& [tensor, copy] : addition.copies)
      first.emplace_back(&copy, &addition.params[tensor - params.size()]);
    space.write_copies(first);
    for (Tensor& tensor : addition.tensors) engine.add(std::move(tensor));
    for (const Group& group : groups) engine.groups().push_back(group);
    append(params, addition.params);
    append(states, addition.states);
    append(owners_, addition.owners);
    append(movable_, addition.movable);
    append(copies_, addition.copies);
    occupied.add(std::move(written));
    has_foreign_ = has_foreign_ || addition.has_foreign;
  }

  // Throws if a tensor of the group cannot do with one of its options.
  void check_group(const Group& group, std::size_t number,
                   const std::vector<Tensor>& tensors) const {
    const auto is_in_group = [&](const Tensor& tensor) { return tensor.group == number; };
    if (const auto misfit = misfit_of(engine.rule(), group))
      refuse_misfit(*misfit, Compute::float32, tensors, is_in_group);
    for (const Compute compute : {Compute::float32, Compute::float64})
      if (const auto misfit = misfit_when_scaled(engine.rule(), group, compute))
        refuse_misfit(*misfit, compute, tensors, is_in_group);
  }

  // Throws if an array overlaps what a step writes.
  void refuse_overlap(const Checked& array, const Subject& subject) const {
    if (const Range* const other = occupied.find(array.extent()))
      refuse_overlap(subject.text(), other->owner, {});
  }

  // Throws if rows of so many elements cannot be stepped over one by one.
  void check_row_size(std::size_t tensor, std::size_t size) const {
    const auto& [name, view, elements, group] = engine.tensors()[tensor];
    if (size % view.block != 0)
      throw py::value_error("step_rows of '" + name + "': expected rows of a multiple of " +
                            std::to_string(view.block) +
                            " elements, since so many of its 8-bit state share a scale, got " +
                            std::to_string(size) + ": use state_dtype='bfloat16'");
  }

  Subject gradient_subject(std::size_t tensor) const {
    return {gradient_.c_str(), engine.tensors()[tensor].name, like_.c_str()};
  }

  [[noreturn]] void refuse_count(std::size_t count) const {
    throw py::value_error(gradients_ + ": expected one per " + target_ + " (" +
                          std::to_string(params.size()) + "), got " + std::to_string(count));
  }

  // Foreign code may do anything to any array. So a call first asks what only foreign code knows,
  // and then looks at all its arrays, which calls none. Returns whether there was anything to ask.
  bool ask() const {
    if (!has_foreign_) return false;
    for (std::size_t i = 0; i < params.size(); ++i)
      if (must_be_asked(params[i]))
        space.ask(params[i], {target_.c_str(), engine.tensors()[i].name});
    for (const auto& [tensor, copy] : copies_)
      if (must_be_asked(copy)) space.ask(copy, {"working copy of", engine.tensors()[tensor].name});
    for (const std::size_t i : movable_)
      if (must_be_asked(states[i])) {
        const std::string role = role_of(owners_[i] % kSlots);
        space.ask(states[i], {role.c_str(), engine.tensors()[owners_[i] / kSlots].name});
      }
    return true;
  }

  void check_param(std::size_t tensor, bool writeable = true) const {
    space.check_unchanged(params[tensor], subject_of(tensor), writeable);
  }

  // Looks at what a step writes, except states of which nobody can take the memory away.
  void check_written() const {
    const bool rowwise = engine.rule().rowwise;
    for (std::size_t i = 0; i < params.size(); ++i) {
      check_param(i);
      if (rowwise) space.check_rows_unchanged(params[i], subject_of(i));
    }
    for (const auto& [tensor, copy] : copies_)
      space.check_unchanged(copy, {"working copy of", engine.tensors()[tensor].name}, true);
    for (const std::size_t i : movable_) check_state(i, /*writeable=*/true);
  }

  // Writes the working copies of tensors of which `is_wanted` is true: they may be older than their
  // parameters. The values of the first parameters are in `instead` if they are swapped.
  template <class IsWanted>
  void renew_copies(const std::vector<Checked>& instead, IsWanted is_wanted) const {
    Renewals wanted;
    for (const auto& [tensor, copy] : copies_)
      if (is_wanted(tensor))
        wanted.emplace_back(&copy, &(tensor < instead.size() ? instead : params)[tensor]);
    if (wanted.empty()) return;
    ask();
    check_written();
    space.write_copies(wanted);
  }

  // Users may have made the views of the states read-only.
  void check_states() const {
    for (std::size_t i = 0; i < states.size(); ++i) check_state(i, /*writeable=*/true);
  }

  void check_state(std::size_t number, bool writeable) const {
    const std::string role = role_of(owners_[number] % kSlots);
    const Subject subject{role.c_str(), engine.tensors()[owners_[number] / kSlots].name};
    space.check_unchanged(states[number], subject, writeable);
  }
  // In messages.
  std::string text_of_state(std::size_t number) const { return text_of_owner(owners_[number], {}); }

  // What the garbage collector sees of the arrays.
  void visit(Visitor& visitor) const {
    for (const Checked& one : params) one.visit(visitor);
    for (const Checked& one : states) one.visit(visitor);
    for (const auto& [tensor, copy] : copies_) copy.visit(visitor);
    space.visit(visitor);
  }

  // No step may follow.
  void drop() {
    const std::vector<Checked> dropped_params = std::exchange(params, {});
    const std::vector<Checked> dropped_states = std::exchange(states, {});
    const Copies dropped_copies = std::exchange(copies_, {});
  }

  Space space;
  typename Space::Engine engine;
  std::vector<Checked> params;
  // Per tensor: each state, followed by its scales, the correction, the average.
  std::vector<Checked> states;
  Occupied occupied;  // all that a step writes

 private:
  using Renewals = std::vector<std::pair<const Checked*, const Checked*>>;  // to, from
  using Copies = std::vector<std::pair<std::size_t, Checked>>;  // with their tensors' indices

  // What add() has checked but not yet committed.
  struct Addition {
    const std::vector<Group>& groups;
    const std::vector<GroupOptions>& options;
    std::vector<Tensor> tensors;
    std::vector<Checked> params, states;
    std::vector<std::size_t> owners, movable;
    Copies copies;
    std::vector<Range> ranges;
    bool has_foreign = false;
  };

  template <class T>
  static void append(std::vector<T>& to, std::vector<T>& from) {
    static_assert(std::is_nothrow_move_constructible_v<T>);
    for (T& one : from) to.push_back(std::move(one));
  }

  Subject subject_of(std::size_t tensor) const {
    return {target_.c_str(), engine.tensors()[tensor].name};
  }

  void check_spec(const TensorSpec& spec, Addition& addition) const {
    const auto& [name, param, own, scales, group, average, copy, correction] = spec;
    const std::size_t groups = engine.groups().size();
    // An existing group means that another thread has called add() since the caller looked.
    if (group < groups) throw std::runtime_error(kInUse);
    const std::size_t index = params.size() + addition.params.size();
    const Subject subject{target_.c_str(), name};
    const Checked target =
        addition.params.emplace_back(space.check_numbers(param, subject, /*writeable=*/true));
    check_beside_first(target, subject, addition);
    addition.has_foreign |= must_be_asked(target);
    addition.tensors.push_back({name, {}, target.size, group});
    TensorView& view = addition.tensors.back().view;
    view.param = target.stored();
    const RuleInfo& rule = engine.rule();
    const Checked model = rule.rowwise ? space.one_a_row(target, subject, rule.name) : target;
    if (rule.rowwise) view.row_size = model.size == 0 ? 0 : target.size / model.size;
    const auto claim = [&](const Checked& array, const Subject& what, std::size_t slot) {
      refuse_overlap(array, what);
      if (array.size != 0) addition.ranges.emplace_back(array.extent(), index * kSlots + slot);
      return array.stored();
    };
    // `name` by itself: a lambda of C++17 captures no structured binding.
    const auto claim_held = [&, &name = name](const py::object& object, std::size_t slot,
                                              Formats formats, const Checked& like,
                                              const char* called) {
      const std::string role = role_of(slot);
      const Subject what{role.c_str(), name, called};
      addition.states.push_back(space.check_like(object, like, written_in(formats), what));
      addition.owners.push_back(index * kSlots + slot);
      if (space.is_movable(addition.states.back())) {
        addition.movable.push_back(states.size() + addition.states.size() - 1);
        addition.has_foreign |= must_be_asked(addition.states.back());
      }
      return claim(addition.states.back(), what, slot);
    };
    claim(target, subject, 0);
    const Group& options = addition.groups.at(group - groups);
    const Format native = native_of(compute_of(target.format));
    view.rounding = options.rounding;
    if (target.format == native && view.rounding != Rounding::nearest)
      throw std::invalid_argument("rounding: expected a narrow parameter");
    const States& names = rule.states[options.variant];
    const std::size_t count = names.used();
    if (own.size() != count || (!scales.empty() && scales.size() != count))
      throw std::invalid_argument("states: expected those of the rule's variant");
    for (std::size_t k = 0, given = 0; k < names.size(); ++k) {
      if (!names.state[k].used) continue;
      Array& state = view.state[k];
      const Formats formats = formats_of_state(names.state[k].content, native,
                                               addition.options[group - groups].state_bits);
      state = claim_held(own[given], kStates + k, formats, model,
                         rule.rowwise ? "its parameter's rows" : like_.c_str());
      if (info_of(state.format).block != 1) {
        const Checked blocks = space.one_axis(target, scales_of(state.format, target.size));
        const Array array = claim_held(scales.empty() ? py::none() : scales[given], kScales + k,
                                       {Format::float32}, blocks, "its parameter's blocks");
        state.scales = static_cast<float*>(array.data);
      }
      ++given;
    }
    if (const Formats formats = formats_of_correction(view.rounding, target.format);
        !formats.is_empty())
      view.correction = claim_held(correction, kCorrection, formats, target, like_.c_str());
    if (!average.is_none())
      view.average = claim_held(average, kAverage, {native}, target, like_.c_str());
    if (!copy.is_none()) {
      const Subject what{"working copy of", name};
      check_takes_copy(target.format, what);
      addition.copies.emplace_back(
          index, space.check_like(copy, target, written_in({Format::bfloat16}), what));
      addition.has_foreign |= must_be_asked(addition.copies.back().second);
      view.copy = claim(addition.copies.back().second, what, kCopy);
    }
  }

  // All parameters must be on the device of the first nonempty one.
  void check_beside_first(const Checked& array, const Subject& subject,
                          const Addition& addition) const {
    const auto holds = [](const Checked& other) { return other.size != 0; };  // empty: nowhere
    const auto here = std::find_if(params.begin(), params.end(), holds);
    const auto& coming = addition.params;  // `array` is its last
    const auto next = std::find_if(coming.begin(), coming.end() - 1, holds);
    if (here != params.end())
      space.check_beside(*here, engine.tensors()[std::size_t(here - params.begin())].name, array,
                         subject);
    else if (next != coming.end() - 1)
      space.check_beside(*next, addition.tensors[std::size_t(next - coming.begin())].name, array,
                         subject);
  }

  // `coming`: tensors that add() has checked but not yet added.
  [[noreturn]] void refuse_overlap(const std::string& array, std::size_t owner,
                                   const std::vector<Tensor>& coming) const {
    throw py::value_error(array + ": expected memory of its own, got memory that overlaps " +
                          text_of_owner(owner, coming));
  }

  std::string text_of_owner(std::size_t owner, const std::vector<Tensor>& coming) const {
    const std::size_t index = owner / kSlots, here = engine.tensors().size();
    const Tensor& tensor = index < here ? engine.tensors()[index] : coming[index - here];
    const std::string role = role_of(owner % kSlots);
    return Subject{role.c_str(), tensor.name}.text();
  }

  // The name of a tensor's array in messages.
  std::string role_of(std::size_t slot) const {
    if (slot == 0) return target_;
    if (slot == kCorrection) return "correction of";
    if (slot == kAverage) return "average of";
    if (slot == kCopy) return "working copy of";
    const State* const names = engine.rule().states[0].state;
    if (slot < kScales) return std::string(names[slot - kStates].name) + " of";
    return std::string("scales of ") + names[slot - kScales].name + " of";
  }

  // In messages: what a step updates, a gradient of one, all gradients, and what one must match.
  std::string target_, gradient_, gradients_, like_;
  std::vector<std::size_t> owners_;   // of `states`: tensor * kSlots + slot
  std::vector<std::size_t> movable_;  // the numbers of states that the caller lent
  Copies copies_;
  bool has_foreign_ = false;  // some parameters or copies must be asked
};

}  // namespace fusedstep::bindings
