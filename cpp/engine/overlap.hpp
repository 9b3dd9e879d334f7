// Detects overlap with the arrays that a step writes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "memory.hpp"

namespace fusedstep {

struct Range {
  std::uintptr_t begin, end;
  std::size_t owner;  // the caller's id

  Range(Extent extent, std::size_t id)
      : begin(reinterpret_cast<std::uintptr_t>(extent.address)),
        end(begin + extent.bytes),
        owner(id) {}
};

// Sorts nonempty ranges by address. Returns the owners of two that overlap, if there are any, the
// greater id first.
inline std::optional<std::pair<std::size_t, std::size_t>> sort_by_address(
    std::vector<Range>& ranges) {
  const auto lies_before = [](const Range& a, const Range& b) { return a.begin < b.begin; };
  if (!std::is_sorted(ranges.begin(), ranges.end(), lies_before))  // allocated in turn: they are
    std::sort(ranges.begin(), ranges.end(), lies_before);
  const auto overlap = [](const Range& a, const Range& b) { return b.begin < a.end; };
  const auto first = std::adjacent_find(ranges.begin(), ranges.end(), overlap);
  if (first == ranges.end()) return std::nullopt;
  const auto [least, most] = std::minmax(first->owner, std::next(first)->owner);
  return std::pair(most, least);
}

// Disjoint ranges. They are kept as a few sorted runs, each more than twice as long as the next, so
// that adding n ranges, one by one or at once, in any order, takes n log n.
class Occupied {
 public:
  // A range that overlaps the extent, or null. Empty arrays overlap nothing.
  const Range* find(Extent extent) const {
    if (extent.bytes == 0) return nullptr;
    const Range wanted(extent, 0);
    for (const std::vector<Range>& run : runs_) {
      const auto after = std::upper_bound(
          run.begin(), run.end(), wanted.begin,
          [](std::uintptr_t address, const Range& range) { return address < range.end; });
      if (after != run.end() && after->begin < wanted.end) return &*after;
    }
    return nullptr;
  }

  // Ranges that are to be added, and how many runs stay beside them.
  struct Addition {
    std::vector<Range> run;
    std::size_t kept;
  };
  // All of adding that can fail. The ranges are sorted and overlap neither each other nor what is
  // here.
  Addition prepare(std::vector<Range> run) {
    std::size_t kept = runs_.size();
    for (; kept > 0 && runs_[kept - 1].size() <= 2 * run.size(); --kept) {
      const std::vector<Range>& other = runs_[kept - 1];
      std::vector<Range> both;
      both.reserve(run.size() + other.size());
      std::merge(run.begin(), run.end(), other.begin(), other.end(), std::back_inserter(both),
                 [](const Range& a, const Range& b) { return a.begin < b.begin; });
      run = std::move(both);
    }
    runs_.reserve(kept + 1);
    return {std::move(run), kept};
  }
  void add(Addition addition) noexcept {
    runs_.erase(runs_.begin() + static_cast<std::ptrdiff_t>(addition.kept), runs_.end());
    runs_.push_back(std::move(addition.run));
  }

 private:
  std::vector<std::vector<Range>> runs_;
};

}  // namespace fusedstep
