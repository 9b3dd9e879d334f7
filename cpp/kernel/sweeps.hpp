// THE loops: a rule over a block of numbers. Included by kernels.cpp alone, which is compiled once
// per instruction set: whatever is here has internal linkage, or the linker could keep the AVX-512
// copy of a function for a CPU that has none.
#pragma once

#include <utility>

#include "adjustment.hpp"
#include "kernel_table.hpp"

namespace fusedstep {
namespace {

// Stands where an array of states would: for a variant that has none, and for the state of a row.
template <class T>
struct Single {
  T value = T(0);
  T& operator[](std::size_t) { return value; }
};

template <class Rule, std::size_t I, class T>
auto state_of(const Block& block, T*) {
  if constexpr (!Rule::kStates.state[I].used)
    return Single<T>{};
  else if constexpr (is_rowwise<Rule>)
    return Single<T>{*static_cast<const T*>(block.state[I])};
  else
    return static_cast<T*>(block.state[I]);
}

// A rule between what comes before it and after it.
template <class Rule, class T>
struct Whole {
  Rule rule;
  Around<T> around;
  template <class... States>
  FUSEDSTEP_HD void operator()(T& p, T g, T& mean, States&... state) const {
    rule(p, around.adjust(g, p), state...);
    around.average(mean, p);
  }
};

// `omp simd` asserts that iterations are independent: the arrays were checked not to overlap.
template <class Rule, class T, class... States>
FUSEDSTEP_HD void sweep(const Rule rule, std::size_t n, T* param, const T* gradient,
                        States... state) {
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) rule(param[i], gradient[i], state[i]...);
}

template <class Rule, class T, class States = std::make_index_sequence<Rule::kStates.size()>>
struct SweepsOf;

template <class Rule, class T, std::size_t... I>
struct SweepsOf<Rule, T, std::index_sequence<I...>> {
  static const Rule& functor(const void* rule) { return *static_cast<const Rule*>(rule); }

  static void plain(const void* rule, const Block& block) {
    T* const param = static_cast<T*>(block.param);
    sweep(functor(rule), block.count, param, static_cast<const T*>(block.gradient),
          state_of<Rule, I>(block, param)...);
  }

  static void whole(const void* rule, const void* around, const Block& block) {
    T* const param = static_cast<T*>(block.param);
    const Whole<Rule, T> all{functor(rule), *static_cast<const Around<T>*>(around)};
    sweep(all, block.count, param, static_cast<const T*>(block.gradient),
          static_cast<T*>(block.average), state_of<Rule, I>(block, param)...);
  }

  template <class... States>
  FUSEDSTEP_HD static void sweep_probe(const Rule rule, const Adjustment<T> adjust, std::size_t n,
                                       const T* param, const T* gradient, T* direction,
                                       States... state) {
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i)
      direction[i] = rule.probe(param[i], adjust(gradient[i], param[i]), state[i]...);
  }

  static void probe(const void* rule, const void* adjust, const Block& block) {
    T* const param = static_cast<T*>(block.param);
    sweep_probe(functor(rule), *static_cast<const Adjustment<T>*>(adjust), block.count, param,
                static_cast<const T*>(block.gradient), static_cast<T*>(block.direction),
                state_of<Rule, I>(block, param)...);
  }

  static void settle(const void* rule, double mean_square,
                     const std::array<void*, kMaxStates>& state) {
    functor(rule).settle(mean_square, *static_cast<T*>(state[I])...);
  }

  static constexpr Sweeps all() {
    Sweeps sweeps{plain, whole, nullptr, nullptr};
    if constexpr (is_layerwise<Rule>) sweeps.probe = probe;
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
