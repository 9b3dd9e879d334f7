// The memory-bandwidth limit that rules are measured against: the same streams, read and written in
// place, with one addition per element for arithmetic.
#pragma once

#include "rule.hpp"

namespace fusedstep {

// The variant is the number of states, not a set of flags.
template <class T, unsigned Count>
struct Roofline {
  static constexpr const char* kName = "roofline";
  static constexpr ScalarNames kScalars{};
  static constexpr FlagNames kFlags{};
  static constexpr unsigned kVariants = kMaxStates + 1;
  static constexpr States kStates{{{"first", Content::average, Count >= 1},
                                   {"second", Content::average, Count >= 2},
                                   {"third", Content::average, Count >= 3},
                                   {"fourth", Content::average, Count >= 4}}};

  struct Scalars {};

  FUSEDSTEP_HD Roofline(const Scalars&, std::int64_t) {}

  FUSEDSTEP_HD void operator()(T& p, T g, T& first, T& second, T& third, T& fourth) const {
    p = p + g;
    if constexpr (Count >= 1) first = first + g;
    if constexpr (Count >= 2) second = second + g;
    if constexpr (Count >= 3) third = third + g;
    if constexpr (Count >= 4) fourth = fourth + g;
  }
};

using RooflineFamily = RuleList<Roofline>;

}  // namespace fusedstep
