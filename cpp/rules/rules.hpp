// The list of all rules, from which kernels, registry, Python and tests enumerate them.
#pragma once

#include "adagrad.hpp"
#include "adam.hpp"
#include "averaging.hpp"
#include "belief.hpp"
#include "ema.hpp"
#include "layerwise.hpp"
#include "mixture.hpp"
#include "roofline.hpp"
#include "sgd.hpp"
#include "sign.hpp"

namespace fusedstep {

using AllRules =
    Concatenate<SgdFamily, AdagradFamily, AdamFamily, BeliefFamily, MixtureFamily, SignFamily,
                AveragingFamily, LayerwiseFamily, EmaFamily, RooflineFamily>::type;

// Number of variants: kVariants if the rule has it, else one per combination of flags.
template <class Rule, class = void>
constexpr unsigned variants_of = 1u << Rule::kFlags.size();
template <class Rule>
constexpr unsigned variants_of<Rule, std::void_t<decltype(Rule::kVariants)>> = Rule::kVariants;

// A rule template as a function argument.
template <template <class, unsigned> class R>
struct RuleTag {
  template <class T, unsigned Flags>
  using rule = R<T, Flags>;
  static constexpr unsigned kVariants = variants_of<R<float, 0>>;
};

template <template <class, unsigned> class... Rules>
constexpr std::size_t rule_count(RuleList<Rules...>) {
  return sizeof...(Rules);
}

// Calls visit(index, tag) for every rule in the list.
template <class Visitor, template <class, unsigned> class... Rules>
constexpr void for_each_rule(RuleList<Rules...>, Visitor visit) {
  std::size_t index = 0;
  (visit(index++, RuleTag<Rules>{}), ...);
}

}  // namespace fusedstep
