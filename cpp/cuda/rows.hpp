// Updates of row-wise rules.
#pragma once

#include <new>
#include <utility>

#include "work.hpp"

namespace fusedstep::cuda {

// The rows that start in the chunk, one warp each: sum of squares, states, then elements.
template <class Updater>
FUSEDSTEP_HD void update_rows(Block block, Work& work, const Updater& updater) {
  const std::uint64_t size = work.task.tensor.row_size, begin = work.begin, end = work.end;
  const std::uint64_t last = (end + size - 1) / size;
  const auto tree = [&](std::uint64_t warp) -> RunningTree& {
    return *static_cast<RunningTree*>(static_cast<void*>(work.trees[warp]));
  };
  for (std::uint64_t first = (begin + size - 1) / size; first < last; first += kWarps) {
    const std::uint64_t rows = last - first < kWarps ? last - first : kWarps;
    block.each([&](unsigned thread) {
      if (thread < rows) new (work.trees[thread]) RunningTree;
    });
    for (std::uint64_t from = 0; from < size; from += kReduceBlock)
      sum_units<1, 1>(
          block, work.lanes, rows,
          [&](std::uint64_t) { return size - from < kReduceBlock ? size - from : kReduceBlock; },
          [&](std::uint64_t row, std::uint64_t i) {
            return double(updater.gradient((first + row) * size + from + i));
          },
          [](double g, double* sums) { sums[0] = sums[0] + g * g; },
          [&](std::uint64_t row, const double* totals) { tree(row).add(totals[0]); });
    block.each([&](unsigned thread) {
      if (thread >= rows) return;
      const double mean_square = tree(thread).sum() / double(size);
      updater.settle(mean_square, first + thread);
    });
    block.each([&](unsigned thread) {
      const std::uint64_t row = first + thread / kWarp;
      if (row >= last) return;
      for (std::uint64_t i = thread % kWarp; i < size; i += kWarp)
        updater.update_one(row * size + i, row);
    });
  }
}

}  // namespace fusedstep::cuda
