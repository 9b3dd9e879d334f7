// Sums whose order depends only on their length: the same bits on every instruction set, for any
// number of threads, on every device.
//
// Numbers are summed in blocks of kReduceBlock. Within a block, number i is added to lane i %
// kLanes, in order; then the upper half of the lanes is added to the lower half until one is left.
// The block sums are summed the same way.
#pragma once

#include <cstddef>

#include "host_device.hpp"

namespace fusedstep {

constexpr std::size_t kReduceBlock = 2048;
constexpr std::size_t kLanes = 32;  // a warp; four registers of AVX-512

FUSEDSTEP_HD constexpr std::size_t reduce_blocks(std::size_t size) {
  return (size + kReduceBlock - 1) / kReduceBlock;
}

FUSEDSTEP_HD double fold_lanes(double* lanes) {
  for (std::size_t width = kLanes / 2; width > 0; width /= 2)
    for (std::size_t lane = 0; lane < width; ++lane)
      lanes[lane] = lanes[lane] + lanes[lane + width];
  return lanes[0];
}

// Sum of `count` numbers, all >= 0 or NaN, which are overwritten.
inline double tree_sum(double* numbers, std::size_t count) {
  if (count == 0) return 0.0;
  while (count > 1) {
    for (std::size_t block = 0; block < reduce_blocks(count); ++block) {
      double lanes[kLanes] = {};
      const std::size_t begin = block * kReduceBlock;
      const std::size_t end = begin + kReduceBlock < count ? begin + kReduceBlock : count;
      for (std::size_t i = begin; i < end; ++i)
        lanes[(i - begin) % kLanes] = lanes[(i - begin) % kLanes] + numbers[i];
      numbers[block] = fold_lanes(lanes);
    }
    count = reduce_blocks(count);
  }
  return numbers[0];
}

// Streaming tree_sum() of at least one number, all >= 0 or NaN: same bits.
class RunningTree {
 public:
  FUSEDSTEP_HD void add(double number, std::size_t level = 0) {
    for (;; ++level) {
      top_ = level > top_ ? level : top_;
      if (count_[level] == 0)
        for (double& lane : lanes_[level]) lane = 0.0;
      double& lane = lanes_[level][count_[level] % kLanes];
      lane = lane + number;
      if (++count_[level] < kReduceBlock) return;
      number = close(level);
    }
  }

  // Closes the open blocks bottom-up. Closing a block of a single number does not change it.
  FUSEDSTEP_HD double sum() {
    for (std::size_t level = 0; level < top_; ++level)
      if (count_[level] != 0) add(close(level), level + 1);
    return close(top_);
  }

 private:
  FUSEDSTEP_HD double close(std::size_t level) {
    count_[level] = 0;
    return fold_lanes(lanes_[level]);
  }

  static constexpr std::size_t kLevels = 3;  // enough for 2^33 blocks, 2^44 numbers
  double lanes_[kLevels][kLanes];            // uninitialized where the count is 0
  std::size_t count_[kLevels] = {};
  std::size_t top_ = 0;
};

}  // namespace fusedstep
