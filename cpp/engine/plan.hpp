// What one step touches, laid end to end, so that it can be cut anywhere and by anybody.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "memory.hpp"

namespace fusedstep {

// As many threads as so many bytes keep busy: at least 1, at most `limit`.
int useful_threads(std::size_t bytes, int limit);

// Calls visit(i, from, to) for what of [begin, end) lies in each of several stretches, the i-th of
// which is [first[i], first[i + 1]); `from` and `to` count from the start of the stretch.
template <class Visit>
void visit_stretches(const std::vector<std::size_t>& first, std::size_t begin, std::size_t end,
                     Visit visit) {
  // The stretch that `begin` lies in: the last one that starts at it or before it.
  auto i = static_cast<std::size_t>(std::upper_bound(first.begin(), first.end(), begin) -
                                    first.begin() - 1);
  for (; i + 1 < first.size() && first[i] < end; ++i) {
    const std::size_t from = std::max(begin, first[i]), to = std::min(end, first[i + 1]);
    if (from < to) visit(i, from - first[i], to - first[i]);
  }
}

// All tensors are counted in cache lines of the parameter, and cuts fall between lines, so that no
// line is written by two threads; of rows, on the start of the row that such a boundary lies in.
class Plan {
 public:
  struct Tensor {
    Extent param;
    std::size_t item_size;  // bytes that no cut divides: of an element, or of a row
    std::size_t bytes;      // of all its arrays, that a step touches
  };

  void build(const std::vector<Tensor>& tensors);

  std::size_t lines() const { return first_.back(); }
  std::size_t bytes() const { return bytes_; }  // that the step touches

  // Calls visit(tensor, begin, end) for the pieces of the lines [first, last): the items [begin,
  // end) of a tensor, elements or rows, at least one; one call of a kernel.
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
  // The item that the tensor's line `line` starts in.
  std::size_t item_at(std::size_t tensor, std::size_t line) const;

  std::vector<std::size_t> first_{0};  // line of each tensor, and the end
  std::vector<Shape> shapes_;
  std::size_t bytes_ = 0;
};

}  // namespace fusedstep
