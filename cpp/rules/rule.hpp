// The vocabulary in which a rule describes itself. A rule is a template
//
//   template <class T, unsigned Flags> struct Rule {
//     kName, kScalars, kFlags, kStates                  what Python and the tests enumerate
//     struct Scalars { double ...; };                   in the order of kScalars
//     Rule(const Scalars&, std::int64_t t);             host side, once a step: t = 1, 2, ...
//     void operator()(T& p, T g, T& state...) const;    one parameter
//   };
//
// Bit i of Flags is the option kFlags[i], fixed at compile time, so that an option that is off
// costs nothing. operator() names every state of the rule; those that `used` is false for must
// not be touched. Scalars are doubles until the constructor rounds them, once, to T.
//
// A layer-wise rule, whose steps depend on norms over a whole tensor, has two sweeps. It adds
//
//     static constexpr bool kLayerwise = true;
//     T probe(T p, T g, T& state...) const;      first sweep: moves the state, returns a direction
//     void scale(double param_norm, double norm);   once a tensor, with the norms of p and of these
//
// and its operator() is the second sweep.
//
// A row-wise rule has as states one number a row (of the first axis, in C order) each. It adds
//
//     static constexpr bool kRowwise = true;
//     void settle(double mean_square, T& state...) const;   once a row, before its elements
//
// with the mean of the squares of the row's gradient, and its operator() only reads the states.
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

struct State {
  const char* name = nullptr;
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

// The two places of epsilon: the frameworks' sqrt(v) + eps, and sqrt(v + eps).
template <bool EpsInside, class T>
FUSEDSTEP_HD T damped_root(T v, T eps) {
  if constexpr (EpsInside)
    return square_root(v + eps);
  else
    return square_root(v) + eps;
}

}  // namespace fusedstep
