// Runs a rule's loops over a tensor: the driver knows a rule only as a few loops over blocks.
// Included only by kernels.cpp, compiled once per instruction set: internal linkage.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "kernel_table.hpp"
#include "numeric/reduce.hpp"
#include "stages.hpp"
#include "sweeps.hpp"

namespace fusedstep {
namespace {

constexpr std::size_t kCacheLine = 64;

template <class T>
std::array<void*, kMaxStates> states_at(const TensorView& tensor, std::size_t i) {
  std::array<void*, kMaxStates> states;
  for (std::size_t k = 0; k < kMaxStates; ++k) states[k] = elements<T>(tensor.state[k], i);
  return states;
}

// Number of elements of [begin, end) before the parameter's first full cache line. State shares its
// parameter's address modulo 64, so one alignment peel serves all streams; without it every 64-byte
// access of every stream splits two lines (2.4x from cache, docs/decisions.md).
template <class T>
std::size_t peel(const T* param, std::size_t begin, std::size_t end) {
  const auto address = reinterpret_cast<std::uintptr_t>(param);
  const std::size_t to_line = (kCacheLine - address % kCacheLine) % kCacheLine / sizeof(T);
  return std::min(end - begin, to_line);
}

// The bare rule: no gradient adjustment, no average, no copy.
template <class T>
void update_bare(const Sweeps& sweeps, const void* rule, const Part& part, std::size_t begin,
                 std::size_t end) {
  const TensorView& tensor = *part.tensor;
  const std::size_t i = part.first + begin;
  Block block;
  T* const param = elements<T>(tensor.param, i);
  block.param = param;
  block.gradient = elements<const T>(part.sets[0], begin);
  block.state = states_at<T>(tensor, i);
  block.count = end - begin;
  if (const std::size_t head = peel(param, begin, end); head != 0) {
    block.count = head;
    sweeps.plain(rule, block);
    block.count = end - begin - head;
    block.param = param + head;
    block.gradient = static_cast<const T*>(block.gradient) + head;
    for (void*& state : block.state)
      state = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(state) + head * sizeof(T));
  }
  if (block.count != 0) sweeps.plain(rule, block);
}

// One rule over one part of a tensor, with every option of a step.
template <class T>
class Drive {
 public:
  Drive(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient)
      : sweeps_(sweeps),
        rule_(rule),
        part_(part),
        tensor_(*part.tensor),
        gradient_(gradient),
        rowwise_(sweeps.settle != nullptr) {}

  void run(double ema_decay, std::size_t begin, std::size_t end) {
    if (rowwise_)
      run_rows(ema_decay, begin, end);
    else
      run_elements(ema_decay, begin, end);
  }

  void probe(std::size_t size, std::size_t first, std::size_t last, double* param_sums,
             double* direction_sums) {
    alignas(kCacheLine) T direction[kStaged];
    const Adjustment<T> adjust(gradient_);
    for (std::size_t block = first; block < last; ++block) {
      std::size_t at = block * kReduceBlock;
      const std::size_t end = std::min(size, at + kReduceBlock);
      double param_lanes[kLanes] = {}, direction_lanes[kLanes] = {};
      visit_block<T>(part_.sets, gradient_, at, end, [&](const T* g, std::size_t n) {
        Block stage = block_at(at, n, g);
        stage.direction = direction;
        sweeps_.probe(rule_, &adjust, stage);
        add_squares(n, static_cast<const T*>(stage.param), T(1), param_lanes);
        add_squares(n, direction, T(1), direction_lanes);
        at += n;
      });
      param_sums[block] = fold_lanes(param_lanes);
      direction_sums[block] = fold_lanes(direction_lanes);
    }
  }

 private:
  static constexpr std::size_t kStaged = kStageBytes / sizeof(T);

  // Per row: sum of squares, states, then the elements, from cache.
  void run_rows(double ema_decay, std::size_t first, std::size_t last) {
    const std::size_t size = tensor_.row_size, rows_before = part_.first / size;
    for (std::size_t row = first; row < last; ++row) {
      const std::size_t begin = row * size, end = begin + size;
      row_states_ = states_at<T>(tensor_, rows_before + row);
      const double mean_square =
          sum_squares<T>(part_, gradient_, begin, end) / static_cast<double>(size);
      sweeps_.settle(rule_, mean_square, row_states_);
      run_elements(ema_decay, begin, end);
    }
  }

  // In stages that stay in L1.
  void run_elements(double ema_decay, std::size_t begin, std::size_t end) {
    alignas(kCacheLine) T staged[kStaged];
    alignas(kCacheLine) T unread[kStaged];  // dummy if there is no average
    if (!tensor_.average) std::fill_n(unread, kStaged, T(0));
    const Extras<T> extras{Adjustment<T>(gradient_), EMA<T, 0>({ema_decay}, 1)};
    const std::size_t head =
        peel(elements<const T>(tensor_.param, part_.first + begin), begin, end);
    for (std::size_t n = head != 0 ? head : std::min(end - begin, kStaged); begin < end;
         begin += n, n = std::min(end - begin, kStaged)) {
      Block stage = block_at(begin, n, stage_gradient(gradient_, part_.sets, begin, n, staged));
      stage.average = tensor_.average ? elements<T>(tensor_.average, part_.first + begin) : unread;
      sweeps_.full(rule_, &extras, stage);
      if (gradient_.zero) zero_gradients<T>(gradient_, part_.sets, begin, n);
      if (tensor_.copy)
        copy_out(n, static_cast<const T*>(stage.param), tensor_.copy, part_.first + begin);
    }
  }

  // Elements [begin, begin + n) of the part.
  Block block_at(std::size_t begin, std::size_t n, const T* gradient) const {
    const std::size_t i = part_.first + begin;
    Block block;
    block.count = n;
    block.param = elements<T>(tensor_.param, i);
    block.gradient = gradient;
    block.state = rowwise_ ? row_states_ : states_at<T>(tensor_, i);
    return block;
  }

  const Sweeps& sweeps_;
  const void* const rule_;
  const Part& part_;
  const TensorView& tensor_;
  const Gradient& gradient_;
  const bool rowwise_;
  std::array<void*, kMaxStates> row_states_;
};

template <class T>
void update(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient,
            double ema_decay, std::size_t begin, std::size_t end) {
  Drive<T>(sweeps, rule, part, gradient).run(ema_decay, begin, end);
}

template <class T>
void probe(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient,
           std::size_t size, std::size_t first, std::size_t last, double* param_sums,
           double* direction_sums) {
  Drive<T>(sweeps, rule, part, gradient).probe(size, first, last, param_sums, direction_sums);
}

constexpr KernelTable make_kernel_table(const char* isa) {
  KernelTable table{isa,
                    {{update_bare<float>, update<float>, measure<float>, probe<float>},
                     {update_bare<double>, update<double>, measure<double>, probe<double>}},
                    {}};
  for_each_rule(AllRules{}, [&](std::size_t index, auto tag) {
    table.rules[index] =
        sweeps_of_rule<decltype(tag)>(std::make_index_sequence<decltype(tag)::kVariants>{});
  });
  return table;
}

}  // namespace
}  // namespace fusedstep
