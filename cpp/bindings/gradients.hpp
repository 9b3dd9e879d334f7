// The gradients of one call, checked and kept alive.
#pragma once

#include <string>
#include <vector>

#include "members.hpp"

namespace fusedstep::bindings {

template <class Space>
class Gradients {
 public:
  using Array = typename Space::Array;

  bool present = false;
  std::vector<const void*> pointers;  // set k of tensor i at i * set_count + k; null for None

  void clear() {
    present = foreign_ = false;
    arrays_.clear();
    pointers.clear();
  }

  // Takes the `set`-th gradient of every parameter. `apart`: where each tensor's last gradient lay,
  // apart from all that the step writes.
  void collect(py::handle gradients, std::size_t set, std::size_t set_count,
               const Members<Space>& members, std::vector<const void*>& apart) {
    // A tuple: nobody can change it while we look through it.
    const auto items = py::reinterpret_steal<py::tuple>(PySequence_Tuple(gradients.ptr()));
    if (!items) throw py::error_already_set();
    const std::size_t count = items.size();
    if (count != members.params.size())
      throw py::value_error("gradients: expected one a parameter (" +
                            std::to_string(members.params.size()) + "), got " +
                            std::to_string(count));
    present = true;
    arrays_.resize(count * set_count);
    pointers.resize(count * set_count, nullptr);
    for (std::size_t i = 0; i < count; ++i) {
      const py::handle item = items[i];
      if (item.is_none()) continue;
      const Array& param = members.params[i];
      const Subject subject = members.gradient_subject(i);
      Array& checked = arrays_[i * set_count + set];
      if (!members.space.take_matching(item, param, checked)) {
        checked = members.space.check_like(item, param, subject, /*writeable=*/false);
        foreign_ = foreign_ || checked.source;
      }
      // Allocators give the same place again and again.
      if (apart[i] != checked.data) members.refuse_overlap(members.occupied, checked, subject, {});
      apart[i] = checked.data;
      // An empty array may have no address, and null means None.
      pointers[i * set_count + set] = checked.size == 0 ? param.owner.ptr() : checked.data;
    }
  }

  void check_all_or_none(std::size_t i, std::size_t set_count,
                         const Members<Space>& members) const {
    const void* const* first = pointers.data() + i * set_count;
    for (std::size_t k = 1; k < set_count; ++k)
      if ((first[k] == nullptr) != (first[0] == nullptr))
        throw py::value_error(members.gradient_subject(i).text() +
                              ": expected in every gradient set or in none, got None in set " +
                              std::to_string(first[k] == nullptr ? k : 0) + " but not in set " +
                              std::to_string(first[k] == nullptr ? 0 : k));
  }

  // A __dlpack__ is anybody's code, and may have changed an array that was checked before it.
  void check_collected(std::size_t set_count, const Members<Space>& members) const {
    if (foreign_) check_unchanged(set_count, members);
  }

  void check_unchanged(std::size_t set_count, const Members<Space>& members) const {
    for (std::size_t i = 0; i < arrays_.size(); ++i)
      if (pointers[i] != nullptr)
        members.space.check_unchanged(arrays_[i], members.gradient_subject(i / set_count), false);
  }

  // Gradients that are to be zeroed must be writeable, and nobody else's.
  void check_zeroable(std::size_t set_count, const Members<Space>& members) const {
    Occupied seen;
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      if (pointers[i] == nullptr) continue;
      const Subject subject = members.gradient_subject(i / set_count);
      members.space.check_unchanged(arrays_[i], subject, /*writeable=*/true);
      if (const Occupied::Range* const other = seen.find(arrays_[i].extent()))
        throw py::value_error(subject.text() +
                              ": expected memory of its own, since zero_grads, got memory that "
                              "overlaps " +
                              members.gradient_subject(other->owner / set_count).text());
      seen.insert(arrays_[i].extent(), i);
    }
  }

 private:
  bool foreign_ = false;       // some came through a __dlpack__
  std::vector<Array> arrays_;  // of a None: without data
};

}  // namespace fusedstep::bindings
