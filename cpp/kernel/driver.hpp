// Runs a rule's loops over a tensor: the driver knows a rule only as a few loops over blocks.
// Included only by kernels.cpp, compiled once per instruction set: internal linkage.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernel_table.hpp"
#include "numeric/reduce.hpp"
#include "stages.hpp"
#include "sweeps.hpp"

namespace fusedstep {
namespace {

constexpr std::size_t kCacheLine = 64;

// Number of elements of [begin, end) before the parameter's first full cache line. State shares its
// parameter's address modulo 64, so one alignment peel serves all streams; without it every 64-byte
// access of every stream splits two lines (2.4x from cache, docs/decisions.md).
template <class T>
std::size_t peel(const T* param, std::size_t begin, std::size_t end) {
  const auto address = reinterpret_cast<std::uintptr_t>(param);
  const std::size_t to_line = (kCacheLine - address % kCacheLine) % kCacheLine / sizeof(T);
  return std::min(end - begin, to_line);
}

// Per row of a row-wise rule: sum of squares, states, then body(begin, end, row) for its elements,
// which are in cache.
template <class T, class Body>
void visit_rows(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient,
                std::size_t first, std::size_t last, Body body) {
  const std::size_t size = part.tensor->row_size, rows_before = part.first / size;
  for (std::size_t row = first; row < last; ++row) {
    const std::size_t begin = row * size, end = begin + size;
    const double mean_square =
        sum_squares<T>(part, gradient, begin, end) / static_cast<double>(size);
    sweeps.settle(rule, *part.tensor, rows_before + row, mean_square);
    body(begin, end, rows_before + row);
  }
}

// The bare rule over elements [begin, end) of a part: no gradient adjustment, no average, no copy.
// `state_at`: the index of the first element's state; all of them have that of a row-wise rule.
template <class T>
FUSEDSTEP_HD void run_bare(const Sweeps& sweeps, const void* rule, const Part& part,
                           std::size_t begin, std::size_t end, std::size_t state_at, bool rowwise) {
  const TensorView& tensor = *part.tensor;
  const T* const gradient = elements<const T>(part.sets[0], 0);
  const std::size_t at = part.first + begin;
  const std::size_t head = peel(elements<const T>(tensor.param, at), begin, end);
  if (head != 0) sweeps.plain(rule, tensor, at, state_at, gradient + begin, head);
  if (const std::size_t rest = end - begin - head; rest != 0)
    sweeps.plain(rule, tensor, at + head, rowwise ? state_at : state_at + head,
                 gradient + begin + head, rest);
}

template <class T>
void update_bare(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient,
                 std::size_t begin, std::size_t end) {
  if (sweeps.settle == nullptr)
    return run_bare<T>(sweeps, rule, part, begin, end, part.first + begin, /*rowwise=*/false);
  visit_rows<T>(sweeps, rule, part, gradient, begin, end,
                [&](std::size_t from, std::size_t to, std::size_t row) {
                  run_bare<T>(sweeps, rule, part, from, to, row, /*rowwise=*/true);
                });
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
    if (!rowwise_) return run_elements(ema_decay, begin, end, part_.first + begin);
    visit_rows<T>(sweeps_, rule_, part_, gradient_, begin, end,
                  [&](std::size_t from, std::size_t to, std::size_t row) {
                    run_elements(ema_decay, from, to, row);
                  });
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
        const std::size_t i = part_.first + at;
        sweeps_.probe(rule_, tensor_, i, g, n, &adjust, direction);
        add_squares(n, elements<const T>(tensor_.param, i), T(1), param_lanes);
        add_squares(n, direction, T(1), direction_lanes);
        at += n;
      });
      param_sums[block] = fold_lanes(param_lanes);
      direction_sums[block] = fold_lanes(direction_lanes);
    }
  }

 private:
  static constexpr std::size_t kStaged = kStageBytes / sizeof(T);

  // In stages that stay in L1.
  void run_elements(double ema_decay, std::size_t begin, std::size_t end, std::size_t state_at) {
    alignas(kCacheLine) T staged[kStaged];
    alignas(kCacheLine) T unread[kStaged];
    if (!tensor_.average) std::fill_n(unread, kStaged, T(0));
    const Extras<T> extras{Adjustment<T>(gradient_), EMA<T, 0>({ema_decay}, 1), unread};
    std::size_t at = part_.first + begin;
    const std::size_t head = peel(elements<const T>(tensor_.param, at), begin, end);
    for (std::size_t n = head != 0 ? head : std::min(end - begin, kStaged); begin < end;
         begin += n, at += n, n = std::min(end - begin, kStaged)) {
      const T* const gradient = stage_gradient(gradient_, part_.sets, begin, n, staged);
      sweeps_.full(rule_, tensor_, at, state_at, gradient, n, &extras);
      if (!rowwise_) state_at += n;
      if (gradient_.zero) zero_gradients<T>(gradient_, part_.sets, begin, n);
      if (tensor_.copy) copy_out(n, elements<const T>(tensor_.param, at), tensor_.copy, at);
    }
  }

  const Sweeps& sweeps_;
  const void* const rule_;
  const Part& part_;
  const TensorView& tensor_;
  const Gradient& gradient_;
  const bool rowwise_;
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
