// The arrays of one case, stepped over by the rule and by its roofline.
#pragma once

#include <cstddef>
#include <vector>

#include "cases.hpp"
#include "engine/memory.hpp"
#include "engine/stepper.hpp"

namespace fusedstep::bench {

// One rule, driven as the bindings drive a bound optimizer.
class Contestant {
 public:
  // One gradient per tensor; `gradients` must outlive the contestant.
  Contestant(const RuleInfo& rule, unsigned variant, const std::vector<Array>& gradients);

  // One buffer per state that the variant uses.
  void add(const Array& param, std::size_t size, std::byte* const* buffers);
  int threads() const { return stepper_.threads(); }

  // Time of this many steps.
  double seconds(std::size_t steps);

 private:
  Stepper stepper_;
  const std::vector<Array>& gradients_;
};

// Rule and roofline alternate over the same arrays, so that both find the same caches, pages and
// load on the machine.
class Workload {
 public:
  explicit Workload(const Case& c);
  Workload(const Workload&) = delete;
  Workload& operator=(const Workload&) = delete;

  Contestant& rule() { return rule_; }
  Contestant& roofline() { return roofline_; }

  // Whether all values (of a sample) are normal: zeros, subnormals, infinities and NaNs may take a
  // different time.
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
