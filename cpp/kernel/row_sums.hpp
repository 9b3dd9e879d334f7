// Sums of squares of many short rows, each in the order of reduce.hpp. Included only by stages.hpp:
// internal linkage, compiled once per instruction set.
#pragma once

#include <array>
#include <cstddef>
#include <utility>

#include "numeric/reduce.hpp"

namespace fusedstep {
namespace {

template <class T>
FUSEDSTEP_HD double square(T number, T factor) {
  const double x = double(number * factor);
  return x * x;
}

// fold_lanes() in SIMD: rows of 17 to 64 numbers take half the time with AVX-512.
template <std::size_t Lanes>
FUSEDSTEP_HD double fold(const double* lanes) {
  if constexpr (Lanes == 1) {
    return lanes[0];
  } else {
    double halves[Lanes / 2];
#pragma omp simd
    for (std::size_t lane = 0; lane < Lanes / 2; ++lane)
      halves[lane] = lanes[lane] + lanes[lane + Lanes / 2];
    return fold<Lanes / 2>(halves);
  }
}

// The folded squares of the lanes Lane, Lane + Step, Lane + 2 * Step, ... of a row with at most one
// number a lane. Lanes beyond its width are 0, and adding 0 to a square changes nothing.
template <std::size_t Width, std::size_t Lane, std::size_t Step, class T>
FUSEDSTEP_HD double fold_squares(const T* row, T factor) {
  static_assert(Width <= kLanes);
  if constexpr (Lane + Step >= Width)
    return square(row[Lane], factor);
  else
    return fold_squares<Width, Lane, 2 * Step>(row, factor) +
           fold_squares<Width, Lane + Step, 2 * Step>(row, factor);
}

// Very short rows: SIMD over the rows.
template <std::size_t Width, class T>
void sum_across(std::size_t rows, const T* numbers, T factor, double* sums) {
#pragma omp simd
  for (std::size_t row = 0; row < rows; ++row)
    sums[row] = fold_squares<Width, 0, 1>(numbers + row * Width, factor);
}

// Longer ones: SIMD over the lanes of each.
template <class T>
void sum_along(std::size_t rows, std::size_t width, const T* numbers, T factor, double* sums) {
  const std::size_t whole = width / kLanes * kLanes, rest = width - whole;
  for (std::size_t row = 0; row < rows; ++row, numbers += width) {
    double lanes[kLanes] = {};
    for (std::size_t i = 0; i < whole; i += kLanes)
#pragma omp simd
      for (std::size_t lane = 0; lane < kLanes; ++lane)
        lanes[lane] = lanes[lane] + square(numbers[i + lane], factor);
    if (rest != 0)
#pragma omp simd
      for (std::size_t lane = 0; lane < kLanes; ++lane)
        lanes[lane] = lanes[lane] + (lane < rest ? square(numbers[whole + lane], factor) : 0.0);
    sums[row] = fold<kLanes>(lanes);
  }
}

constexpr std::size_t kAcross = 16;  // the widest row that sum_across() takes

template <class T, std::size_t... I>
constexpr auto sums_across(std::index_sequence<I...>) {
  using Sum = void (*)(std::size_t rows, const T* numbers, T factor, double* sums);
  return std::array<Sum, sizeof...(I)>{sum_across<I + 1, T>...};
}

// The sum of squares of each of `rows` rows of 1 to kReduceBlock numbers, one after the other.
template <class T>
void sum_rows(std::size_t rows, std::size_t width, const T* numbers, T factor, double* sums) {
  static constexpr auto kSums = sums_across<T>(std::make_index_sequence<kAcross>{});
  if (width <= kAcross) return kSums[width - 1](rows, numbers, factor, sums);
  sum_along(rows, width, numbers, factor, sums);
}

}  // namespace
}  // namespace fusedstep
