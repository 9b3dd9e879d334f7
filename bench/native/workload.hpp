// The arrays of one case, and the two that step over them: the rule and its roofline.
#pragma once

#include <cstddef>
#include <vector>

#include "cases.hpp"
#include "engine/memory.hpp"
#include "engine/stepper.hpp"

namespace fusedstep::bench {

// One rule at its steps, driven as the bindings drive a bound optimizer.
class Contestant {
 public:
  // One gradient per tensor; the vector outlives the contestant.
  Contestant(const RuleInfo& rule, unsigned variant, const std::vector<Array>& gradients);

  // `buffers` has one buffer per state that the variant uses.
  void add(const Array& param, std::size_t size, std::byte* const* buffers);
  int threads() const { return stepper_.threads(); }

  // What this many steps take.
  double seconds(std::size_t steps);

 private:
  Stepper stepper_;
  const std::vector<Array>& gradients_;
};

// Rule and roofline step over the same arrays in turn, so that one finds the caches, the pages and
// the neighbours on the machine as the other does.
class Workload {
 public:
  explicit Workload(const Case& c);
  Workload(const Workload&) = delete;
  Workload& operator=(const Workload&) = delete;

  Contestant& rule() { return rule_; }
  Contestant& roofline() { return roofline_; }

  // Whether all values (of a sample) are normal: zeros, subnormals, infinities and NaNs may take
  // another time.
  bool is_normal() const;

 private:
  const Format format_;
  Arena arrays_;  // parameters, then gradients
  std::vector<Array> gradients_;
  std::vector<Extent> params_;
  Buffers state_;
  Contestant rule_, roofline_;
};

}  // namespace fusedstep::bench
