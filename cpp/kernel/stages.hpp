// What happens to a block of elements before and after the rule, while it is in L1. Included only
// by driver.hpp: internal linkage, compiled once per instruction set.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "adjustment.hpp"
#include "formats/codes.hpp"
#include "narrow_arrays.hpp"
#include "numeric/reduce.hpp"
#include "row_sums.hpp"
#include "tensor.hpp"

namespace fusedstep {
namespace {

constexpr std::size_t kSetsAtOnce = 4;     // streams that prefetchers follow at once
constexpr std::size_t kStageBytes = 8192;  // fits in L1 with the streams it feeds

// out = weight * set + ..., or out + weight * set + ..., set by set.
template <bool Start, class T, class... Sets>
void add_weighted(std::size_t n, const T* weights, T* out, const T* first, Sets... others) {
  const T weight0 = weights[0];
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) {
    T sum = weight0 * first[i];
    if constexpr (!Start) sum = out[i] + sum;
    std::size_t k = 0;
    ((sum = sum + weights[++k] * others[i]), ...);
    out[i] = sum;
  }
}

template <class T, std::size_t... I>
void add_sets(bool start, std::size_t n, const T* weights, T* out, const T* const* at,
              std::index_sequence<I...>) {
  if (start)
    add_weighted<true>(n, weights, out, at[I]...);
  else
    add_weighted<false>(n, weights, out, at[I]...);
}

// The numbers of a gradient: where they are if they are stored as computed, else in `out`.
template <class T>
const T* gradient_numbers(const Array& set, std::size_t begin, std::size_t n, T* out) {
  if constexpr (std::is_same_v<T, float>) return load_numbers(set, begin, n, out);
  return elements<const T>(set, begin);
}

inline bool are_native(const Array* sets, std::size_t count) {
  return std::all_of(sets, sets + count, [](const Array& set) { return is_native(set.format); });
}

// The same of a parameter.
template <class T>
const T* param_numbers(const TensorView& tensor, std::size_t at, std::size_t n, T* out) {
  if constexpr (std::is_same_v<T, float>)
    if (!is_native(tensor.param.format)) {
      for (std::size_t i = 0; i < n; i += kNarrowStage)
        load_param(tensor, at + i, std::min(kNarrowStage, n - i), out + i);
      return out;
    }
  return elements<const T>(tensor.param, at);
}

template <class T>
void combine_sets(const Gradient& source, const Array* sets, std::size_t begin, std::size_t n,
                  T* out) {
  const T divisor = T(source.divisor);
  const T* at[kSetsAtOnce];
  T weight[kSetsAtOnce];
  alignas(64) T decoded[kStageBytes / sizeof(T) + kRoom];
  const bool as_they_are = are_native(sets, source.set_count);
  for (std::size_t k = 0, count; k < source.set_count; k += count) {
    count = as_they_are && source.set_count - k >= kSetsAtOnce ? kSetsAtOnce : 1;
    for (std::size_t j = 0; j < count; ++j) {
      at[j] = gradient_numbers<T>(sets[k + j], begin, n, decoded);
      weight[j] = T(source.weights[k + j]);
    }
    if (count == 1)
      add_sets(k == 0, n, weight, out, at, std::make_index_sequence<1>{});
    else
      add_sets(k == 0, n, weight, out, at, std::make_index_sequence<kSetsAtOnce>{});
  }
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) out[i] = out[i] / divisor;
}

// The gradient of the elements [begin, begin + n), staged in L1 unless it is a single array that is
// stored as computed; Adjustment does the rest in registers.
template <class T>
const T* stage_gradient(const Gradient& source, const Array* sets, std::size_t begin, std::size_t n,
                        T* out) {
  const T* in = source.weights == nullptr ? gradient_numbers<T>(sets[0], begin, n, out) : nullptr;
  if (source.is_one_array()) return in;
  if (source.weights != nullptr) {
    combine_sets(source, sets, begin, n, out);
    in = out;
  }
  if (source.factor == 0.0) {
    const T scale = T(source.scale);
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) out[i] = in[i] / scale;
  }
  return out;
}

// Adds n squares to the lanes; n is a multiple of kLanes except at the end of a block.
template <class T>
void add_squares(std::size_t n, const T* numbers, T factor, double* lanes) {
  double sum[kLanes];
  std::copy_n(lanes, kLanes, sum);
  const std::size_t whole = n / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes)
#pragma omp simd
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const double x = double(numbers[i + lane] * factor);
      sum[lane] = sum[lane] + x * x;
    }
  for (std::size_t i = whole; i < n; ++i) {
    const double x = double(numbers[i] * factor);
    sum[i - whole] = sum[i - whole] + x * x;
  }
  std::copy_n(sum, kLanes, lanes);
}

// Calls visit(numbers, n) for each stage of a block.
template <class T, class Visit>
void visit_block(const Array* sets, const Gradient& gradient, std::size_t begin, std::size_t end,
                 Visit visit) {
  constexpr std::size_t kStaged = kStageBytes / sizeof(T);
  static_assert(kReduceBlock % kStaged == 0 && kStaged % kLanes == 0, "lanes start anew a stage");
  alignas(64) T staged[kStaged + kRoom];
  for (std::size_t n; begin < end; begin += n) {
    n = std::min(end - begin, kStaged);
    visit(stage_gradient<T>(gradient, sets, begin, n, staged), n);
  }
}

// Sums of squares, each in the order of reduce.hpp, of rows of the gradient as the rule sees it.
// `rows` rows from element `begin` on fit in a stage; or there is one row.
template <class T>
void sum_squares(const Part& part, const Gradient& gradient, std::size_t begin, std::size_t rows,
                 double* sums) {
  constexpr std::size_t kStaged = kStageBytes / sizeof(T);
  alignas(64) T adjusted[kStaged];
  const Adjustment<T> adjust(gradient);
  const bool plain = gradient.is_plain();
  alignas(64) T params[kStaged + kRoom];
  std::size_t at = part.first + begin;
  const auto as_seen = [&](const T* numbers, std::size_t n) -> const T* {
    const std::size_t first = std::exchange(at, at + n);
    if (plain) return numbers;
    const T* const param = param_numbers<T>(*part.tensor, first, n, params);
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) adjusted[i] = adjust(numbers[i], param[i]);
    return adjusted;
  };
  const std::size_t size = part.tensor->row_size, end = begin + rows * size;
  if (size <= std::min(kStaged, kReduceBlock))
    return visit_block<T>(part.sets, gradient, begin, end, [&](const T* numbers, std::size_t n) {
      sum_rows(rows, size, as_seen(numbers, n), T(1), sums);
    });
  RunningTree tree;
  for (std::size_t next; begin < end; begin = next) {
    next = std::min(end, begin + kReduceBlock);
    double lanes[kLanes] = {};
    visit_block<T>(part.sets, gradient, begin, next, [&](const T* numbers, std::size_t n) {
      add_squares(n, as_seen(numbers, n), T(1), lanes);
    });
    tree.add(fold_lanes(lanes));
  }
  sums[0] = tree.sum();
}

// The sum of x - x: 0, or NaN if one of the numbers is not finite.
template <class T>
T differences(std::size_t n, const T* numbers, T factor) {
  T nothing = T(0);
  for (std::size_t i = 0; i < n; ++i) {
    const T x = numbers[i] * factor;
    nothing = nothing + (x - x);
  }
  return nothing;
}

// Whether all numbers are finite whose squares have this sum. Squares of finite floats cannot
// overflow a double; those of doubles can: then their differences() tell.
template <class T, class Differences>
bool is_finite(double sum, Differences of_numbers) {
  return std::isfinite(sum) || (sizeof(T) == sizeof(double) && of_numbers() == T(0));
}

template <class T>
void measure(const Part& part, const Gradient& gradient, std::size_t size, std::size_t first,
             std::size_t last, double* sums, unsigned char* finite) {
  const T factor = Adjustment<T>::unscaling_factor(gradient);
  for (std::size_t block = first; block < last; ++block) {
    const std::size_t begin = block * kReduceBlock, end = std::min(size, begin + kReduceBlock);
    double lanes[kLanes] = {};
    visit_block<T>(part.sets, gradient, begin, end, [&](const T* numbers, std::size_t n) {
      add_squares(n, numbers, factor, lanes);
    });
    sums[block] = fold_lanes(lanes);
    finite[block] = is_finite<T>(sums[block], [&] {
      T nothing = T(0);
      visit_block<T>(part.sets, gradient, begin, end, [&](const T* numbers, std::size_t n) {
        nothing = nothing + differences(n, numbers, factor);
      });
      return nothing;
    });
  }
}

inline void zero_gradients(const Gradient& source, const Array* sets, std::size_t begin,
                           std::size_t n) {
  for (std::size_t k = 0; k < source.set_count; ++k)
    std::memset(from_element(sets[k], begin).data, 0, bytes_of(sets[k].format, n));
}

// Non-temporal stores were slower (docs/decisions.md).
inline void copy_out(std::size_t n, const float* param, const Array& copy, std::size_t at) {
  std::uint16_t* const out = static_cast<std::uint16_t*>(copy.data) + at;
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) out[i] = bfloat16_bits(param[i]);
}
inline void copy_out(std::size_t, const double*, const Array&, std::size_t) {}  // refused earlier

}  // namespace
}  // namespace fusedstep
