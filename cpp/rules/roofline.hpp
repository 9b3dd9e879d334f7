// The limit that other rules are measured against: the same streams, read and written in place,
// with one addition in the place of the arithmetic.
#pragma once

#include "rule.hpp"

namespace fusedstep {

template <class T, unsigned Flags>
struct Roofline {
  static constexpr const char* kName = "roofline";
  static constexpr ScalarNames kScalars{};
  static constexpr FlagNames kFlags{{"first", "second", "third", "fourth"}};
  static constexpr States kStates{{{"first", bool(Flags & 1)},
                                   {"second", bool(Flags & 2)},
                                   {"third", bool(Flags & 4)},
                                   {"fourth", bool(Flags & 8)}}};

  struct Scalars {};

  FUSEDSTEP_HD Roofline(const Scalars&, std::int64_t) {}

  FUSEDSTEP_HD void operator()(T& p, T g, T& first, T& second, T& third, T& fourth) const {
    p = p + g;
    if constexpr (Flags & 1) first = first + g;
    if constexpr (Flags & 2) second = second + g;
    if constexpr (Flags & 4) third = third + g;
    if constexpr (Flags & 8) fourth = fourth + g;
  }
};

using RooflineFamily = RuleList<Roofline>;

}  // namespace fusedstep
