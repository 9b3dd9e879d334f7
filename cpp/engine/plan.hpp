// The memory that a step touches, laid end to end, so that it can be cut anywhere.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "memory.hpp"

namespace fusedstep {

// Number of threads that `bytes` keep busy: at least 1, at most `limit`.
int useful_threads(std::size_t bytes, int limit);

// Calls visit(i, from, to) for the intersection of [begin, end) with each nonempty range i, which
// is [first[i], first[i + 1]); `from` and `to` are relative to its start.
template <class Visit>
void visit_stretches(const std::vector<std::size_t>& first, std::size_t begin, std::size_t end,
                     Visit visit) {
  // The range that contains `begin`: the last to start at or before it.
  auto i = static_cast<std::size_t>(std::upper_bound(first.begin(), first.end(), begin) -
                                    first.begin() - 1);
  for (; i + 1 < first.size() && first[i] < end; ++i) {
    const std::size_t from = std::max(begin, first[i]), to = std::min(end, first[i + 1]);
    if (from < to) visit(i, from - first[i], to - first[i]);
  }
}

// Tensors are counted in cache lines of the parameter, and cuts fall between lines, so that no two
// threads write to the same line; for rows, cuts move to the start of the row at that boundary.
class Plan {
 public:
  struct Tensor {
    Extent param;
    std::size_t item_size;  // bytes of an indivisible item: an element or a row
    std::size_t bytes;      // that a step touches, over all arrays
  };

  void build(const std::vector<Tensor>& tensors);

  std::size_t lines() const { return first_.back(); }
  std::size_t bytes() const { return bytes_; }  // touched by the step

  // Calls visit(tensor, begin, end) once per tensor in the lines [first, last), with the nonempty
  // range of its items (elements or rows): one kernel call each.
  template <class Visit>
  void visit(std::size_t first, std::size_t last, Visit visit) const {
    visit_stretches(first_, first, last, [&](std::size_t i, std::size_t from, std::size_t to) {
      const std::size_t begin = item_at(i, from), end = item_at(i, to);
      if (begin != end) visit(i, begin, end);  // a row may be longer than the cut
    });
  }

 private:
  struct Shape {
    std::size_t lines, items, item_size, phase;
  };
  // The item in which the tensor's line `line` starts.
  std::size_t item_at(std::size_t tensor, std::size_t line) const;

  std::vector<std::size_t> first_{0};  // first line per tensor, and the end
  std::vector<Shape> shapes_;
  std::size_t bytes_ = 0;
};

}  // namespace fusedstep
