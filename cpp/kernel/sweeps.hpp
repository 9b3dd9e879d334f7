// The loops of a rule over a block of elements. Included only by kernels.cpp, which is compiled
// once per instruction set: everything here has internal linkage, or the linker could keep a
// function's AVX-512 copy for a CPU without AVX-512.
#pragma once

#include <utility>

#include "adjustment.hpp"
#include "fused.hpp"
#include "kernel_table.hpp"

namespace fusedstep {
namespace {

// elements(), hiding from the compiler how the pointer came about: else the loop keeps an index of
// its own for each stream (2.75 instead of 2.5 instructions per parameter of Adam with AVX2).
template <class T>
FUSEDSTEP_HD T* stream(const Array& array, std::size_t i) {
  T* first = elements<T>(array, i);
  asm("" : "+r"(first));
  return first;
}

// Stands in for an array of states that a variant lacks.
template <class T>
struct Absent {
  T value = T(0);
  T& operator[](std::size_t) { return value; }
};

template <class Rule, std::size_t I, class T>
auto state_of(const TensorView& tensor, std::size_t state_at) {
  if constexpr (Rule::kStates.state[I].used)
    return stream<T>(tensor.state[I], state_at);
  else
    return Absent<T>{};
}

// A rule fused with its extras.
template <class Rule, class T>
struct Fused {
  Rule rule;
  Extras<T> extras;
  template <class... States>
  FUSEDSTEP_HD void operator()(T& p, T g, T& mean, States&... state) const {
    rule(p, extras.adjust(g, p), state...);
    extras.average(mean, p);
  }
};

// `omp simd` asserts independent iterations: the arrays have been checked not to overlap.
template <class Rule, class T, class... States>
FUSEDSTEP_HD void sweep(const Rule rule, std::size_t n, T* param, const T* gradient,
                        States... state) {
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) rule(param[i], gradient[i], state[i]...);
}

// Settles rows, and hands on what their elements share.
template <class Rule, class T, class... States>
FUSEDSTEP_HD void sweep_rows(const Rule rule, std::size_t n, const double* mean_squares, T* shared,
                             States... state) {
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) {
    rule.settle(mean_squares[i], state[i]...);
    shared[i] = rule.shared(state[i]...);
  }
}

// What the loops of a rule read besides parameter and gradient: its states, or what rows share.
template <class Rule>
constexpr std::size_t streams_of = is_rowwise<Rule> ? 1 : Rule::kStates.size();

template <class Rule, class T, class Streams = std::make_index_sequence<streams_of<Rule>>>
struct SweepsOf;

template <class Rule, class T, std::size_t... I>
struct SweepsOf<Rule, T, std::index_sequence<I...>> {
  static const Rule& functor(const void* rule) { return *static_cast<const Rule*>(rule); }

  static void plain(const void* rule, const TensorView& tensor, std::size_t at,
                    [[maybe_unused]] std::size_t state_at, const void* gradient,
                    std::size_t count) {
    sweep(functor(rule), count, stream<T>(tensor.param, at), static_cast<const T*>(gradient),
          state_of<Rule, I, T>(tensor, state_at)...);
  }

  static void full(const void* rule, const TensorView& tensor, std::size_t at,
                   [[maybe_unused]] std::size_t state_at, const void* gradient, std::size_t count,
                   const void* extras) {
    const Fused<Rule, T> all{functor(rule), *static_cast<const Extras<T>*>(extras)};
    T* const average = tensor.average ? stream<T>(tensor.average, at) : all.extras.unread;
    sweep(all, count, stream<T>(tensor.param, at), static_cast<const T*>(gradient), average,
          state_of<Rule, I, T>(tensor, state_at)...);
  }

  template <class... States>
  FUSEDSTEP_HD static void sweep_probe(const Rule rule, const Adjustment<T> adjust, std::size_t n,
                                       const T* param, const T* gradient, T* direction,
                                       States... state) {
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i)
      direction[i] = rule.probe(param[i], adjust(gradient[i], param[i]), state[i]...);
  }

  template <class... States>
  FUSEDSTEP_HD static void sweep_direction(const Rule rule, const Adjustment<T> adjust,
                                           std::size_t n, const T* param, const T* gradient,
                                           T* direction, States... state) {
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i)
      direction[i] = rule.direction(param[i], adjust(gradient[i], param[i]), state[i]...);
  }

  static void probe(const void* rule, const TensorView& tensor, std::size_t at,
                    const void* gradient, std::size_t count, const void* adjust, void* to) {
    sweep_probe(functor(rule), *static_cast<const Adjustment<T>*>(adjust), count,
                stream<const T>(tensor.param, at), static_cast<const T*>(gradient),
                static_cast<T*>(to), state_of<Rule, I, T>(tensor, at)...);
  }

  static void direction(const void* rule, const TensorView& tensor, std::size_t at,
                        const void* gradient, std::size_t count, const void* adjust, void* to) {
    sweep_direction(functor(rule), *static_cast<const Adjustment<T>*>(adjust), count,
                    stream<const T>(tensor.param, at), static_cast<const T*>(gradient),
                    static_cast<T*>(to), state_of<Rule, I, T>(tensor, at)...);
  }

  template <std::size_t... S>
  static void settle_states(const Rule& rule, const TensorView& tensor, std::size_t row,
                            std::size_t count, const double* mean_squares, T* shared,
                            std::index_sequence<S...>) {
    sweep_rows(rule, count, mean_squares, shared, state_of<Rule, S, T>(tensor, row)...);
  }

  static void settle(const void* rule, const TensorView& tensor, std::size_t row, std::size_t count,
                     const double* mean_squares, void* shared) {
    settle_states(functor(rule), tensor, row, count, mean_squares, static_cast<T*>(shared),
                  std::make_index_sequence<Rule::kStates.size()>{});
  }

  static constexpr Sweeps all() {
    Sweeps sweeps{plain, full, nullptr, nullptr, nullptr, false, fused_sweeps_of<Rule>()};
    if constexpr (is_layerwise<Rule>) {
      sweeps.probe = probe;
      sweeps.direction = direction;
      sweeps.probe_stores = Rule::kProbeStores;
    }
    if constexpr (is_rowwise<Rule>) sweeps.settle = settle;
    return sweeps;
  }
};

template <class Tag, std::size_t... Variant>
constexpr RuleSweeps sweeps_of_rule(std::index_sequence<Variant...>) {
  return {{{SweepsOf<typename Tag::template rule<float, Variant>, float>::all(),
            SweepsOf<typename Tag::template rule<double, Variant>, double>::all()}...}};
}

}  // namespace
}  // namespace fusedstep
