// THE loop. Included by kernels.cpp alone, which is compiled once per instruction set: whatever
// is here has internal linkage, or the linker could keep the AVX-512 copy of a function for a
// CPU that has none.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernel_table.hpp"

namespace fusedstep {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kSetsAtOnce = 4;     // streams that prefetchers follow side by side
constexpr std::size_t kStageBytes = 8192;  // fits L1 beside the streams that it feeds

// Stands where a state would, for a variant that has none.
template <class T>
struct Unused {
  T value = T(0);
  T& operator[](std::size_t) { return value; }
};

template <class Rule, std::size_t I, class T>
auto state_pointer(const TensorView& tensor, std::size_t begin, T*) {
  if constexpr (Rule::kStates.state[I].used)
    return static_cast<T*>(tensor.state[I]) + begin;
  else
    return Unused<T>{};
}

// `omp simd` asserts that iterations are independent: the arrays were checked not to overlap.
template <class Rule, class T, class... States>
__attribute__((noinline)) void sweep(const Rule rule, std::size_t n, T* param, const T* gradient,
                                     States... state) {
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) rule(param[i], gradient[i], state[i]...);
}

// out = weight * set + ..., or out + weight * set + ..., set after set.
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

// The gradient of the elements [begin, begin + n), made in L1.
template <class T>
void stage_gradient(const Gradient& source, const void* const* sets, std::size_t begin,
                    std::size_t n, const T* param, T* out) {
  const auto set = [&](std::size_t k) { return static_cast<const T*>(sets[k]) + begin; };
  if (source.weights == nullptr) {
    std::copy_n(set(0), n, out);
  } else {
    const T divisor = T(source.divisor);
    const T* at[kSetsAtOnce];
    T weight[kSetsAtOnce];
    for (std::size_t k = 0, count; k < source.set_count; k += count) {
      count = source.set_count - k >= kSetsAtOnce ? kSetsAtOnce : 1;
      for (std::size_t j = 0; j < count; ++j) {
        at[j] = set(k + j);
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
  if (source.negate) {
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) out[i] = -out[i];
  }
  if (source.decay) {
    const T weight_decay = T(source.weight_decay);
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) out[i] = out[i] + weight_decay * param[i];
  }
}

template <class Rule, class T, std::size_t... I>
void run_blocks(const Rule& rule, const TensorView& tensor, const Gradient& gradient,
                std::size_t begin, std::size_t end, std::index_sequence<I...>) {
  T* const param = static_cast<T*>(tensor.param);
  const auto update = [&](const T* g, std::size_t n) {
    sweep(rule, n, param + begin, g, state_pointer<Rule, I>(tensor, begin, param)...);
    begin += n;
  };
  // State has its parameter's address modulo 64, so one peel aligns all of them: without it every
  // 64-byte access of every stream splits two lines (2.4x from cache, docs/decisions.md).
  const std::size_t phase = reinterpret_cast<std::uintptr_t>(param + begin) % kCacheLine;
  const std::size_t head = std::min(end - begin, (kCacheLine - phase) % kCacheLine / sizeof(T));

  if (gradient.is_plain()) {
    const T* const g = static_cast<const T*>(tensor.sets[0]);
    if (head != 0) update(g + begin, head);
    update(g + begin, end - begin);
    return;
  }
  alignas(kCacheLine) T staged[kStageBytes / sizeof(T)];
  for (std::size_t n = head != 0 ? head : std::min(end - begin, std::size(staged)); begin < end;
       n = std::min(end - begin, std::size(staged))) {
    stage_gradient(gradient, tensor.sets, begin, n, param + begin, staged);
    update(staged, n);
  }
}

template <class Rule, class T>
void run(const void* rule, const TensorView& tensor, const Gradient& gradient, std::size_t begin,
         std::size_t end) {
  run_blocks<Rule, T>(*static_cast<const Rule*>(rule), tensor, gradient, begin, end,
                      std::make_index_sequence<Rule::kStates.size()>{});
}

template <class Tag, std::size_t... Variant>
constexpr void fill_rule(Kernel (&kernel)[kMaxVariants][kDTypes], std::index_sequence<Variant...>) {
  ((kernel[Variant][0] = run<typename Tag::template rule<float, Variant>, float>,
    kernel[Variant][1] = run<typename Tag::template rule<double, Variant>, double>),
   ...);
}

constexpr KernelTable make_kernel_table(const char* isa) {
  KernelTable table{isa, {}};
  for_each_rule(AllRules{}, [&](std::size_t index, auto tag) {
    using Tag = decltype(tag);
    fill_rule<Tag>(table.kernel[index], std::make_index_sequence<Tag::kVariants>{});
  });
  return table;
}

}  // namespace
}  // namespace fusedstep
