// How a rule describes itself. A rule is a template
//
//   template <class T, unsigned Flags> struct Rule {
//     kName, kScalars, kFlags, kStates                  enumerated by Python and the tests
//     struct Scalars { double ...; };                   in the order of kScalars
//     Rule(const Scalars&, std::int64_t t);             once per step on the host, t = 1, 2, ...
//     void operator()(T& p, T g, T& state...) const;    one parameter
//   };
//
// Bit i of Flags is the option kFlags[i], fixed at compile time, so that a disabled option costs
// nothing. operator() takes every state of the rule, but must not touch those whose `used` is
// false. Scalars stay double until the constructor rounds them, once, to T.
//
// A layer-wise rule, whose steps depend on norms over a whole tensor, has two sweeps. It adds
//
//     static constexpr bool kLayerwise = true;
//     static constexpr bool kProbeStores;           whether the first sweep updates the states, or
//                                                   the second does
//     T probe(T p, T g, T& state...) const;         first sweep: returns a direction
//     T direction(T p, T g, T state...) const;      the same from states that have been updated
//     void scale(double param_norm, double norm);   once per tensor: norms of p and the direction
//
// and its operator() is the second sweep.
//
// Each state of a row-wise rule has one number per row (first axis, C order). It adds
//
//     static constexpr bool kRowwise = true;
//     void settle(double mean_square, T& state...) const;   once per row, before its elements
//     T shared(T state...) const;                           what the row's elements need of them
//
// with the mean square of the row's gradient, and its operator()(T& p, T g, T shared) takes that.
#pragma once

#include <cstddef>
#include <type_traits>

#include "numeric/host_device.hpp"

namespace fusedstep {

constexpr std::size_t kMaxScalars = 8;
constexpr std::size_t kMaxFlags = 4;
constexpr std::size_t kMaxStates = 4;

template <std::size_t Capacity>
struct Names {
  const char* name[Capacity] = {};
  constexpr std::size_t size() const {
    std::size_t n = 0;
    while (n < Capacity && name[n] != nullptr) ++n;
    return n;
  }
};
using ScalarNames = Names<kMaxScalars>;
using FlagNames = Names<kMaxFlags>;

// What a state holds, which decides how narrow it may be stored (docs/low-precision.md).
enum class Content : unsigned char {
  exact,    // nothing may be lost: parameters of its own, or terms of a difference
  number,   // no code of 8 bits is fine enough
  average,  // of either sign
  square,   // >= 0, and divided by: what is not 0 must not become 0
};

struct State {
  const char* name = nullptr;
  Content content = Content::exact;
  bool used = true;
};
struct States {
  State state[kMaxStates] = {};
  constexpr std::size_t size() const {
    std::size_t n = 0;
    while (n < kMaxStates && state[n].name != nullptr) ++n;
    return n;
  }
  constexpr std::size_t used() const {
    std::size_t n = 0;
    for (std::size_t k = 0; k < size(); ++k) n += state[k].used;
    return n;
  }
};

template <class Rule, class = void>
constexpr bool is_layerwise = false;
template <class Rule>
constexpr bool is_layerwise<Rule, std::void_t<decltype(Rule::kLayerwise)>> = true;

template <class Rule, class = void>
constexpr bool is_rowwise = false;
template <class Rule>
constexpr bool is_rowwise<Rule, std::void_t<decltype(Rule::kRowwise)>> = true;

template <template <class, unsigned> class... Rules>
struct RuleList {};

template <class... Lists>
struct Concatenate;
template <class List>
struct Concatenate<List> {
  using type = List;
};
template <template <class, unsigned> class... A, template <class, unsigned> class... B,
          class... Rest>
struct Concatenate<RuleList<A...>, RuleList<B...>, Rest...>
    : Concatenate<RuleList<A..., B...>, Rest...> {};

// The two placements of epsilon: sqrt(v) + eps, as in the frameworks, and sqrt(v + eps).
template <bool EpsInside, class T>
FUSEDSTEP_HD T damped_root(T v, T eps) {
  if constexpr (EpsInside)
    return square_root(v + eps);
  else
    return square_root(v) + eps;
}

}  // namespace fusedstep
