// The sums of reduce.hpp, bit for bit: one warp per block, one thread per lane.
#pragma once

#include "block.hpp"

namespace fusedstep::cuda {

// The lanes of one kind of sum, in shared memory.
using Lanes = double[kWarps][kWarp];

// Sums each of `units` ranges of up to kReduceBlock numbers: add(number(unit, i), sums) for i in
// [0, size(unit)), then store(unit, totals). All kinds of sums are computed in one pass. A thread
// loads Ahead numbers before adding the first, so that it waits for memory once.
template <unsigned Kinds, unsigned Ahead, class Size, class Number, class Add, class Store>
FUSEDSTEP_HD void sum_units(Block block, Lanes* lanes, std::uint64_t units, Size size,
                            Number number, Add add, Store store) {
  for (std::uint64_t base = 0; base < units; base += kWarps) {
    block.each([&](unsigned thread) {
      const unsigned warp = thread / kWarp, lane = thread % kWarp;
      const std::uint64_t unit = base + warp, n = unit < units ? size(unit) : 0;
      double sums[Kinds] = {};
      std::uint64_t i = lane;
      FUSEDSTEP_ROLLED
      for (; i + (Ahead - 1) * kWarp < n; i += Ahead * kWarp) {
        decltype(number(unit, i)) ahead[Ahead];
        for (unsigned k = 0; k < Ahead; ++k) ahead[k] = number(unit, i + k * kWarp);
        for (unsigned k = 0; k < Ahead; ++k) add(ahead[k], sums);
      }
      if constexpr (Ahead > 1) {  // else nothing is left, which nvcc cannot prove
        FUSEDSTEP_ROLLED
        for (; i < n; i += kWarp) add(number(unit, i), sums);
      }
      for (unsigned kind = 0; kind < Kinds; ++kind) lanes[kind][warp][lane] = sums[kind];
    });
    for (unsigned width = kWarp / 2; width > 0; width /= 2)
      block.each([&](unsigned thread) {
        const unsigned warp = thread / kWarp, lane = thread % kWarp;
        if (lane < width)
          for (unsigned kind = 0; kind < Kinds; ++kind) {
            double* const sum = lanes[kind][warp];
            sum[lane] = sum[lane] + sum[lane + width];
          }
      });
    block.each([&](unsigned thread) {
      if (thread >= kWarps || base + thread >= units) return;
      double totals[Kinds];
      for (unsigned kind = 0; kind < Kinds; ++kind) totals[kind] = lanes[kind][thread][0];
      store(base + thread, totals);
    });
  }
}

// tree_sum() of value(0) ... value(count - 1) by the whole block, into *result. `scratch` holds
// reduce_blocks(count) numbers and may alias the values: a sum is stored only where all values have
// been read.
template <class Value>
FUSEDSTEP_HD void block_tree_sum(Block block, Lanes* lanes, std::uint64_t count, Value value,
                                 double* scratch, double* result) {
  const auto size = [&](std::uint64_t unit) {
    const std::uint64_t rest = count - unit * kReduceBlock;
    return rest < kReduceBlock ? rest : std::uint64_t(kReduceBlock);
  };
  const auto level = [&](auto number) {
    const std::uint64_t units = count == 0 ? 1 : reduce_blocks(count);
    sum_units<1, 8>(
        block, lanes, units, size,
        [&](std::uint64_t unit, std::uint64_t i) { return number(unit * kReduceBlock + i); },
        [](double x, double* sums) { sums[0] = sums[0] + x; },
        [&](std::uint64_t unit, const double* totals) {
          (units == 1 ? result : scratch)[unit] = totals[0];
        });
    count = units;
  };
  level(value);
  while (count > 1) level([scratch](std::uint64_t i) { return scratch[i]; });
}

}  // namespace fusedstep::cuda
