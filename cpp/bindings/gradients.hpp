// The gradients of one call, checked and kept alive.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "exchange.hpp"
#include "members.hpp"

namespace fusedstep::bindings {

template <class Space>
class Gradients {
 public:
  using Checked = typename Space::Array;

  bool present = false;
  bool is_mixed = false;  // some are stored otherwise than their parameters
  std::size_t set_count = 0;
  std::vector<Array> sets;  // set k of tensor i at i * set_count + k; absent for None

  // A step without any gradient does nothing but count, mostly by mistake.
  void require_some() const {
    if (std::none_of(sets.begin(), sets.end(), [](const Array& array) { return bool(array); }))
      throw py::value_error(
          "gradients: expected at least one, got none (did backward() run before the step, and "
          "zero_grad() after it?); allow_empty=True allows a step without gradients");
  }

  // Releases the arrays. Their addresses stay in `sets` until the next call: allocators tend to
  // return them again, and they are known not to overlap anything that the step writes.
  void release() {
    remember();
    present = is_mixed = ran_foreign_code_ = has_looked_ = must_ask_ = false;
    arrays_.clear();
  }
  // To be called where a step writes other memory than before.
  void reset() {
    release();
    sets.clear();
    known_.clear();
  }

  void visit(Visitor& visitor) const {
    for (const Checked& one : arrays_) one.visit(visitor);
  }

  // Takes the gradient of every parameter in set `set` of `count_of_sets`.
  void collect(py::handle gradients, std::size_t set, std::size_t count_of_sets,
               const Members<Space>& members) {
    // A tuple, since it cannot be changed during the iteration.
    const auto items = py::reinterpret_steal<py::tuple>(PySequence_Tuple(gradients.ptr()));
    if (!items) throw py::error_already_set();
    const std::size_t count = items.size();
    if (count != members.params.size()) members.refuse_count(count);
    present = true;
    if (set_count != count_of_sets || sets.size() != count * set_count) {
      set_count = count_of_sets;
      sets.assign(count * set_count, {});
      known_.clear();
    }
    arrays_.resize(sets.size());
    known_.resize(sets.size());
    for (std::size_t i = 0; i < count; ++i) {
      const py::handle item = items[i];
      Array& array = sets[i * set_count + set];
      if (item.is_none()) {
        array = {};
        continue;
      }
      const Checked& param = members.params[i];
      const Subject subject = members.gradient_subject(i);
      const std::size_t slot = i * set_count + set;
      Checked& checked = arrays_[slot];
      if (!members.space.take_matching(item, param, known_[slot], checked)) {
        members.check_param(i);  // else the gradient were blamed for what became of it
        checked = members.space.check_like(item, param, gradient_of(param.format), subject);
        ran_foreign_code_ = ran_foreign_code_ || checked.source;
      }
      has_looked_ = has_looked_ || checked.look != nullptr;
      must_ask_ = must_ask_ || must_be_asked(checked);
      is_mixed = is_mixed || checked.format != param.format;
      if (array.data != checked.data) members.refuse_overlap(checked, subject);
      array = checked.stored();
      // An empty array may have a null address, but null means None.
      if (checked.size == 0) array.data = param.owner.ptr();
    }
  }

  void check_all_or_none(std::size_t i, const Members<Space>& members) const {
    const Array* const first = sets.data() + i * set_count;
    for (std::size_t k = 1; k < set_count; ++k)
      if (bool(first[k]) != bool(first[0]))
        throw py::value_error(members.gradient_subject(i).text() +
                              ": expected in every gradient set or in none, got None in set " +
                              std::to_string(!first[k] ? k : 0) + " but not in set " +
                              std::to_string(!first[k] ? 0 : k));
  }

  // Whether others may have changed since they were checked.
  bool ran_foreign_code() const { return ran_foreign_code_; }

  // See Members::ask().
  void ask(const Members<Space>& members) const {
    if (!must_ask_) return;
    for (std::size_t i = 0; i < arrays_.size(); ++i)
      if (sets[i] && must_be_asked(arrays_[i]))
        members.space.ask(arrays_[i], members.gradient_subject(i / set_count));
  }

  void check_unchanged(const Members<Space>& members) const {
    for (std::size_t i = 0; i < arrays_.size(); ++i)
      if (sets[i])
        members.space.check_unchanged(arrays_[i], members.gradient_subject(i / set_count), false);
  }

  // Gradients to be zeroed must be writeable and must not overlap each other.
  void check_zeroable(const Members<Space>& members) const {
    const auto subject = [&](std::size_t i) { return members.gradient_subject(i / set_count); };
    std::vector<Range> ranges;
    ranges.reserve(arrays_.size());
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      if (!sets[i]) continue;
      members.space.check_unchanged(arrays_[i], subject(i), /*writeable=*/true);
      if (arrays_[i].size != 0) ranges.emplace_back(arrays_[i].extent(), i);
    }
    if (const auto overlap = sort_by_address(ranges))
      throw py::value_error(subject(overlap->first).text() +
                            ": expected memory of its own, since zero_grads, got memory that "
                            "overlaps " +
                            subject(overlap->second).text());
  }

 private:
  // After the step, since foreign code may run.
  void remember() {
    if (!has_looked_) return;
    for (std::size_t i = 0; i < arrays_.size(); ++i)
      if (arrays_[i].look != nullptr) known_[i].meet(arrays_[i].viewed());
  }

  bool ran_foreign_code_ = false;
  bool has_looked_ = false;          // some say in C where they are
  bool must_ask_ = false;            // only foreign code knows of some where they are
  std::vector<Checked> arrays_;      // without data for None
  std::vector<Acquaintance> known_;  // what was in their places
};

// RAII guard: releases the gradients when a call ends.
template <class Space>
class OfOneCall {
 public:
  explicit OfOneCall(Gradients<Space>& gradients) : gradients_(gradients) {}
  ~OfOneCall() { gradients_.release(); }
  OfOneCall(const OfOneCall&) = delete;
  OfOneCall& operator=(const OfOneCall&) = delete;

 private:
  Gradients<Space>& gradients_;
};

}  // namespace fusedstep::bindings
