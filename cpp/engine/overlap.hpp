// Detects overlap with the arrays that a step writes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "memory.hpp"

namespace fusedstep {

class Occupied {
 public:
  struct Range {
    std::uintptr_t begin, end;
    std::size_t owner;  // the caller's id
  };

  // A range that overlaps [address, address + bytes), or null. Empty arrays overlap nothing.
  const Range* find(Extent extent) const {
    const auto begin = reinterpret_cast<std::uintptr_t>(extent.address);
    const auto after = std::upper_bound(
        ranges_.begin(), ranges_.end(), begin,
        [](std::uintptr_t address, const Range& range) { return address < range.end; });
    const bool hit =
        extent.bytes != 0 && after != ranges_.end() && after->begin < begin + extent.bytes;
    return hit ? &*after : nullptr;
  }

  // The range must not overlap an existing one.
  void insert(Extent extent, std::size_t owner) {
    if (extent.bytes == 0) return;
    const auto begin = reinterpret_cast<std::uintptr_t>(extent.address);
    const auto at = std::upper_bound(
        ranges_.begin(), ranges_.end(), begin,
        [](std::uintptr_t address, const Range& range) { return address < range.begin; });
    ranges_.insert(at, Range{begin, begin + extent.bytes, owner});
  }

 private:
  std::vector<Range> ranges_;  // sorted, disjoint
};

}  // namespace fusedstep
