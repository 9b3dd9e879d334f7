// Runs a rule's loops over a tensor: the driver knows a rule only as a few loops over blocks.
// Included only by kernels.cpp, compiled once per instruction set: internal linkage.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernel_table.hpp"
#include "narrow.hpp"
#include "numeric/reduce.hpp"
#include "stages.hpp"

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

// Rows of a row-wise rule: their sums of squares, their states, then their elements, in pieces that
// stay in cache: body(tensor, from, to) for elements [from, to), whose shared numbers are in the
// tensor's first state, from its start on.
template <class T, class Body>
void visit_rows(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient,
                std::size_t row, std::size_t last, Body body) {
  constexpr std::size_t kStaged = kStageBytes / sizeof(T), kRows = 256;
  constexpr std::size_t kRun = kCacheLine / sizeof(T);
  double mean_squares[kRows];
  T shared[kRows];
  alignas(kCacheLine) T spread[kStaged + kRun];
  TensorView tensor = *part.tensor;
  tensor.state[0] = {spread, nullptr, std::is_same_v<T, float> ? Format::float32 : Format::float64};
  const std::size_t size = tensor.row_size, rows_before = part.first / size;
  for (std::size_t rows; row < last; row += rows) {
    rows = std::min(last - row, std::clamp<std::size_t>(kStaged / size, 1, kRows));
    sum_squares<T>(part, gradient, row * size, rows, mean_squares);
    for (std::size_t i = 0; i < rows; ++i) mean_squares[i] /= static_cast<double>(size);
    sweeps.settle(rule, *part.tensor, rows_before + row, rows, mean_squares, shared);
    // In runs of constant length, whose excess the next row overwrites.
    const std::size_t spread_size = std::min(size, kStaged);
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t k = 0; k < spread_size; k += kRun)
        std::fill_n(spread + i * size + k, kRun, shared[i]);
    const std::size_t end = (row + rows) * size;
    for (std::size_t from = row * size; from < end; from += kStaged)
      body(tensor, from, std::min(end, from + kStaged));
  }
}

// The bare rule over elements [begin, end) of a part of a tensor, whose states are indexed from
// `state_at` on: no gradient adjustment, no average, no copy.
template <class T>
FUSEDSTEP_HD void run_bare(const Sweeps& sweeps, const void* rule, const TensorView& tensor,
                           const Part& part, std::size_t begin, std::size_t end,
                           std::size_t state_at) {
  const T* const gradient = elements<const T>(part.sets[0], 0);
  const std::size_t at = part.first + begin;
  const std::size_t head = peel(elements<const T>(tensor.param, at), begin, end);
  if (head != 0) sweeps.plain(rule, tensor, at, state_at, gradient + begin, head);
  if (const std::size_t rest = end - begin - head; rest != 0)
    sweeps.plain(rule, tensor, at + head, state_at + head, gradient + begin + head, rest);
}

template <class T>
void update_bare(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient,
                 std::size_t begin, std::size_t end) {
  if (sweeps.settle == nullptr)
    return run_bare<T>(sweeps, rule, *part.tensor, part, begin, end, part.first + begin);
  visit_rows<T>(sweeps, rule, part, gradient, begin, end,
                [&](const TensorView& tensor, std::size_t from, std::size_t to) {
                  run_bare<T>(sweeps, rule, tensor, part, from, to, 0);
                });
}

// One rule over one part of a tensor, with every option of a step.
template <class T>
class Drive {
 public:
  Drive(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient)
      : sweeps_(sweeps), rule_(rule), part_(part), gradient_(gradient) {}

  void run(double ema_decay, std::size_t begin, std::size_t end) {
    if (sweeps_.settle == nullptr)
      return run_elements(*part_.tensor, ema_decay, begin, end, part_.first + begin);
    visit_rows<T>(sweeps_, rule_, part_, gradient_, begin, end,
                  [&](const TensorView& tensor, std::size_t from, std::size_t to) {
                    run_elements(tensor, ema_decay, from, to, 0);
                  });
  }

  void probe(std::size_t size, std::size_t first, std::size_t last, double* param_sums,
             double* direction_sums) {
    alignas(kCacheLine) T direction[kStaged];
    const Adjustment<T> adjust(gradient_);
    const TensorView& tensor = *part_.tensor;
    for (std::size_t block = first; block < last; ++block) {
      std::size_t at = block * kReduceBlock;
      const std::size_t end = std::min(size, at + kReduceBlock);
      double param_lanes[kLanes] = {}, direction_lanes[kLanes] = {};
      visit_block<T>(part_.sets, gradient_, at, end, [&](const T* g, std::size_t n) {
        const std::size_t i = part_.first + at;
        sweeps_.probe(rule_, tensor, i, g, n, &adjust, direction);
        add_squares(n, elements<const T>(tensor.param, i), T(1), param_lanes);
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
  void run_elements(const TensorView& tensor, double ema_decay, std::size_t begin, std::size_t end,
                    std::size_t state_at) {
    alignas(kCacheLine) T staged[kStaged];
    alignas(kCacheLine) T unread[kStaged];
    if (!tensor.average) std::fill_n(unread, std::min(kStaged, end - begin), T(0));
    const Extras<T> extras{Adjustment<T>(gradient_), EMA<T, 0>({ema_decay}, 1), unread};
    std::size_t at = part_.first + begin;
    const std::size_t head = peel(elements<const T>(tensor.param, at), begin, end);
    for (std::size_t n = head != 0 ? head : std::min(end - begin, kStaged); begin < end;
         begin += n, at += n, state_at += n, n = std::min(end - begin, kStaged)) {
      const T* const gradient = stage_gradient(gradient_, part_.sets, begin, n, staged);
      sweeps_.full(rule_, tensor, at, state_at, gradient, n, &extras);
      if (gradient_.zero) zero_gradients(gradient_, part_.sets, begin, n);
      if (tensor.copy) copy_out(n, elements<const T>(tensor.param, at), tensor.copy, at);
    }
  }

  const Sweeps& sweeps_;
  const void* const rule_;
  const Part& part_;
  const Gradient& gradient_;
};

// Whether loops can run over the arrays where they are.
inline bool is_native(const Part& part, const Gradient& gradient) {
  return part.tensor->is_native && are_native(part.sets, gradient.set_count);
}

template <class T>
void update(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient,
            double ema_decay, std::size_t begin, std::size_t end) {
  if constexpr (std::is_same_v<T, float>)
    if (!is_native(part, gradient)) {
      NarrowDrive drive(sweeps, rule, part, gradient);
      if (sweeps.settle == nullptr)
        return drive.run(*part.tensor, ema_decay, begin, end, part.first + begin);
      return visit_rows<T>(sweeps, rule, part, gradient, begin, end,
                           [&](const TensorView& tensor, std::size_t from, std::size_t to) {
                             drive.run(tensor, ema_decay, from, to, 0);
                           });
    }
  Drive<T>(sweeps, rule, part, gradient).run(ema_decay, begin, end);
}

template <class T>
void probe(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient,
           std::size_t size, std::size_t first, std::size_t last, double* param_sums,
           double* direction_sums) {
  if constexpr (std::is_same_v<T, float>)
    if (!is_native(part, gradient))
      return NarrowDrive(sweeps, rule, part, gradient)
          .probe(size, first, last, param_sums, direction_sums);
  Drive<T>(sweeps, rule, part, gradient).probe(size, first, last, param_sums, direction_sums);
}

}  // namespace
}  // namespace fusedstep
