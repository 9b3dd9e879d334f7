// THE loop. Included by kernels.cpp alone, which is compiled once per instruction set: whatever
// is here has internal linkage, or the linker could keep the AVX-512 copy of a function for a
// CPU that has none.
#pragma once

#include "stages.hpp"

namespace fusedstep {
namespace {

constexpr std::size_t kCacheLine = 64;

// Stands where an array of states would: for a variant that has none, and for the state of a row.
template <class T>
struct Single {
  T value = T(0);
  T& operator[](std::size_t) { return value; }
};

template <class Rule, std::size_t I, class T>
auto state_pointer(const TensorView& tensor, std::size_t begin, T*) {
  if constexpr (!Rule::kStates.state[I].used)
    return Single<T>{};
  else if constexpr (is_rowwise<Rule>)
    return Single<T>{*static_cast<const T*>(tensor.state[I])};
  else
    return static_cast<T*>(tensor.state[I]) + begin;
}

// A rule between what comes before it and after it.
template <class Rule, class T>
struct Whole {
  Rule rule;
  Adjustment<T> adjust;
  EMA<T, 0> average;
  template <class... States>
  FUSEDSTEP_HD void operator()(T& p, T g, T& mean, States&... state) const {
    rule(p, adjust(g, p), state...);
    average(mean, p);
  }
};

// `omp simd` asserts that iterations are independent: the arrays were checked not to overlap.
template <class Rule, class T, class... States>
__attribute__((noinline)) void sweep(const Rule rule, std::size_t n, T* param, const T* gradient,
                                     States... state) {
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) rule(param[i], gradient[i], state[i]...);
}

// The bare rule.
template <class Rule, class T, std::size_t... I>
void run_plain(const Rule& rule, const TensorView& tensor, std::size_t begin, std::size_t head,
               std::size_t end, std::index_sequence<I...>) {
  T* const param = static_cast<T*>(tensor.param);
  const T* const gradient = static_cast<const T*>(tensor.sets[0]);
  const auto update = [&](std::size_t n) {
    sweep(rule, n, param + begin, gradient + begin,
          state_pointer<Rule, I>(tensor, begin, param)...);
    begin += n;
  };
  if (head != 0) update(head);
  update(end - begin);
}

// All that a step can do, over blocks that stay in L1 between the stages.
template <class Rule, class T, std::size_t... I>
void run_whole(const Rule& rule, const TensorView& tensor, const Gradient& gradient,
               double ema_decay, std::size_t begin, std::size_t head, std::size_t end,
               std::index_sequence<I...>) {
  constexpr std::size_t kStaged = kStageBytes / sizeof(T);
  alignas(kCacheLine) T staged[kStaged];
  alignas(kCacheLine) T unread[kStaged];  // stands where there is no average
  T* const param = static_cast<T*>(tensor.param);
  T* const average = static_cast<T*>(tensor.average);
  if (average == nullptr) std::fill_n(unread, kStaged, T(0));
  const Whole<Rule, T> whole{rule, Adjustment<T>(gradient), EMA<T, 0>({ema_decay}, 1)};
  for (std::size_t n = head != 0 ? head : std::min(end - begin, kStaged); begin < end;
       begin += n, n = std::min(end - begin, kStaged)) {
    const T* const g = stage_gradient(gradient, tensor.sets, begin, n, staged);
    sweep(whole, n, param + begin, g, average != nullptr ? average + begin : unread,
          state_pointer<Rule, I>(tensor, begin, param)...);
    if (gradient.zero) zero_gradients<T>(gradient, tensor.sets, begin, n);
    if (tensor.copy != nullptr) copy_out(n, param + begin, tensor.copy + begin);
  }
}

template <class Rule, class T>
void run_elements(const Rule& rule, const TensorView& tensor, const Gradient& gradient,
                  double ema_decay, std::size_t begin, std::size_t end) {
  constexpr auto kStates = std::make_index_sequence<Rule::kStates.size()>{};
  // State has its parameter's address modulo 64, so one peel aligns all of them: without it every
  // 64-byte access of every stream splits two lines (2.4x from cache, docs/decisions.md).
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.param) + begin * sizeof(T);
  const std::size_t to_line = (kCacheLine - address % kCacheLine) % kCacheLine / sizeof(T);
  const std::size_t head = std::min(end - begin, to_line);
  const bool plain =
      gradient.is_plain() && !gradient.zero && tensor.average == nullptr && tensor.copy == nullptr;
  if (plain)
    run_plain<Rule, T>(rule, tensor, begin, head, end, kStates);
  else
    run_whole<Rule, T>(rule, tensor, gradient, ema_decay, begin, head, end, kStates);
}

// Row after row: its squares, its states, and then, from the cache, its elements.
template <class Rule, class T, std::size_t... I>
void run_rows(const Rule& rule, const TensorView& tensor, const Gradient& gradient,
              double ema_decay, std::size_t first, std::size_t last, std::index_sequence<I...>) {
  TensorView own = tensor;  // with the states of one row
  for (std::size_t row = first; row < last; ++row) {
    const std::size_t begin = row * tensor.row_size, end = begin + tensor.row_size;
    ((own.state[I] = static_cast<T*>(tensor.state[I]) + row), ...);
    const double mean_square =
        sum_squares<T>(tensor, gradient, begin, end) / static_cast<double>(tensor.row_size);
    rule.settle(mean_square, *static_cast<T*>(own.state[I])...);
    run_elements<Rule, T>(rule, own, gradient, ema_decay, begin, end);
  }
}

template <class Rule, class T>
void run(const void* functor, const TensorView& tensor, const Gradient& gradient, double ema_decay,
         std::size_t begin, std::size_t end) {
  Rule rule = *static_cast<const Rule*>(functor);
  if constexpr (is_layerwise<Rule>) rule.scale(tensor.param_norm, tensor.direction_norm);
  if constexpr (is_rowwise<Rule>)
    run_rows<Rule, T>(rule, tensor, gradient, ema_decay, begin, end,
                      std::make_index_sequence<Rule::kStates.size()>{});
  else
    run_elements<Rule, T>(rule, tensor, gradient, ema_decay, begin, end);
}

// The first sweep of a layer-wise rule, its direction kept in L1 until it is squared.
template <class Rule, class T, class... States>
__attribute__((noinline)) void sweep_probe(const Rule rule, const Adjustment<T> adjust,
                                           std::size_t n, const T* param, const T* gradient,
                                           T* direction, States... state) {
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i)
    direction[i] = rule.probe(param[i], adjust(gradient[i], param[i]), state[i]...);
}

template <class Rule, class T, std::size_t... I>
void probe_blocks(const Rule& rule, const TensorView& tensor, const Gradient& gradient,
                  std::size_t size, std::size_t first, std::size_t last, double* param_sums,
                  double* direction_sums, std::index_sequence<I...>) {
  constexpr std::size_t kStaged = kStageBytes / sizeof(T);
  alignas(kCacheLine) T direction[kStaged];
  const Adjustment<T> adjust(gradient);
  T* const param = static_cast<T*>(tensor.param);
  for (std::size_t block = first; block < last; ++block) {
    std::size_t at = block * kReduceBlock;
    const std::size_t end = std::min(size, at + kReduceBlock);
    double param_lanes[kLanes] = {}, direction_lanes[kLanes] = {};
    visit_block<T>(tensor, gradient, at, end, [&](const T* g, std::size_t n) {
      sweep_probe(rule, adjust, n, param + at, g, direction,
                  state_pointer<Rule, I>(tensor, at, param)...);
      add_squares(n, param + at, T(1), param_lanes);
      add_squares(n, direction, T(1), direction_lanes);
      at += n;
    });
    param_sums[block] = fold_lanes(param_lanes);
    direction_sums[block] = fold_lanes(direction_lanes);
  }
}

template <class Rule, class T>
void probe(const void* functor, const TensorView& tensor, const Gradient& gradient,
           std::size_t size, std::size_t first, std::size_t last, double* param_sums,
           double* direction_sums) {
  probe_blocks<Rule, T>(*static_cast<const Rule*>(functor), tensor, gradient, size, first, last,
                        param_sums, direction_sums,
                        std::make_index_sequence<Rule::kStates.size()>{});
}

template <class Rule, class T>
constexpr Probe probe_of() {
  if constexpr (is_layerwise<Rule>)
    return probe<Rule, T>;
  else
    return nullptr;
}

template <class Tag, std::size_t... Variant>
constexpr void fill_rule(Kernel (&kernel)[kMaxVariants][kDTypes],
                         Probe (&probes)[kMaxVariants][kDTypes], std::index_sequence<Variant...>) {
  ((kernel[Variant][0] = run<typename Tag::template rule<float, Variant>, float>,
    kernel[Variant][1] = run<typename Tag::template rule<double, Variant>, double>,
    probes[Variant][0] = probe_of<typename Tag::template rule<float, Variant>, float>(),
    probes[Variant][1] = probe_of<typename Tag::template rule<double, Variant>, double>()),
   ...);
}

constexpr KernelTable make_kernel_table(const char* isa) {
  KernelTable table{isa, {}, {}, {measure<float>, measure<double>}};
  for_each_rule(AllRules{}, [&](std::size_t index, auto tag) {
    using Tag = decltype(tag);
    fill_rule<Tag>(table.kernel[index], table.probe[index],
                   std::make_index_sequence<Tag::kVariants>{});
  });
  return table;
}

}  // namespace
}  // namespace fusedstep
