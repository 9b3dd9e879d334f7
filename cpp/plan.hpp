// What one step touches, cut into pieces and dealt to threads.
#pragma once

#include <cstddef>
#include <vector>

#include "memory.hpp"

namespace fusedstep {

// The items [begin, end) of one tensor, elements or rows: one call of a kernel.
struct Piece {
  std::size_t tensor, begin, end;
};

// As many threads as so many bytes keep busy: at least 1, at most `limit`.
std::size_t useful_threads(std::size_t bytes, std::size_t limit);

// All tensors are laid end to end, counted in cache lines, and each thread takes one equal
// stretch: static, so that a page is always touched by the same thread, and independent of how
// many tensors there are. Cuts fall on cache-line boundaries of the parameter, so that no line is
// written by two threads; of rows, on the start of the row that such a boundary lies in.
class Plan {
 public:
  struct Tensor {
    Extent param;
    std::size_t item_size;  // bytes that no cut divides: of an element, or of a row
    std::size_t streams;    // arrays of its size that a step touches
  };

  // As many threads as `limit` allows and the touched memory keeps busy. Tensors without elements
  // are left out. `tensors[i]` becomes Piece::tensor == i.
  void build(const std::vector<Tensor>& tensors, int limit);

  int threads() const { return static_cast<int>(first_.size()) - 1; }
  const Piece* begin(int thread) const { return pieces_.data() + first_[std::size_t(thread)]; }
  const Piece* end(int thread) const { return pieces_.data() + first_[std::size_t(thread) + 1]; }

 private:
  std::vector<Piece> pieces_;
  std::vector<std::size_t> first_{0};  // thread k has the pieces [first_[k], first_[k + 1])
};

}  // namespace fusedstep
