#include "registry.hpp"

#include <cmath>
#include <cstring>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "dispatch.hpp"
#include "numeric/float_environment.hpp"
#include "rules/rules.hpp"

namespace fusedstep {
namespace {

template <class Rule>
Rule functor(const double* scalars, std::int64_t t) {
  using Scalars = typename Rule::Scalars;
  static_assert(std::is_empty_v<Scalars>
                    ? Rule::kScalars.size() == 0
                    : sizeof(Scalars) == Rule::kScalars.size() * sizeof(double),
                "Scalars lists the doubles that kScalars names");
  static_assert(sizeof(Rule) <= sizeof(FunctorBytes) && alignof(Rule) <= alignof(FunctorBytes) &&
                    std::is_trivially_copyable_v<Rule>,
                "a functor is a few plain numbers");
  Scalars s;
  if constexpr (!std::is_empty_v<Scalars>) std::memcpy(&s, scalars, sizeof s);
  return Rule(s, t);
}

template <class Rule>
void prepare(const double* scalars, std::int64_t t, FunctorBytes* out) {
  const Rule rule = functor<Rule>(scalars, t);
  std::memcpy(out, &rule, sizeof rule);
}

// Corrections of the first step are the smallest, and nothing has been added to a state yet.
template <class Rule, class T, std::size_t... I>
bool is_steady(const double* scalars, std::index_sequence<I...>) {
  const FloatEnvironment ours;
  Rule rule = functor<Rule>(scalars, 1);
  T param(1), state[kMaxStates] = {};
  if constexpr (is_layerwise<Rule>) {
    const T direction = rule.probe(param, T(0), state[I]...);
    rule.scale(double(param), double(absolute(direction)));
  }
  if constexpr (is_rowwise<Rule>) {
    rule.settle(0.0, state[I]...);
    rule(param, T(0), rule.shared(state[I]...));
  } else {
    rule(param, T(0), state[I]...);
  }
  return std::isfinite(param);
}
template <class Rule, class T>
bool is_steady(const double* scalars) {
  return is_steady<Rule, T>(scalars, std::make_index_sequence<Rule::kStates.size()>{});
}

template <class Rule>
void fit(FunctorBytes* functor, double param_norm, double direction_norm) {
  static_cast<Rule*>(static_cast<void*>(functor))->scale(param_norm, direction_norm);
}

template <class Rule, class T>
void describe_variant(RuleInfo& info, std::size_t variant, Compute compute) {
  const auto c = static_cast<std::size_t>(compute);
  info.prepare[variant][c] = prepare<Rule>;
  info.is_steady[variant][c] = is_steady<Rule, T>;
  if constexpr (is_layerwise<Rule>) info.fit[variant][c] = fit<Rule>;
}

template <class Tag, std::size_t... Variant>
RuleInfo describe(std::size_t index, std::index_sequence<Variant...>) {
  using Plain = typename Tag::template rule<float, 0>;
  RuleInfo info{};
  info.name = Plain::kName;
  info.scalars = Plain::kScalars;
  info.flags = Plain::kFlags;
  info.variants = Tag::kVariants;
  info.layerwise = is_layerwise<Plain>;
  info.rowwise = is_rowwise<Plain>;
  ((info.states[Variant] = Tag::template rule<float, Variant>::kStates,
    describe_variant<typename Tag::template rule<float, Variant>, float>(info, Variant,
                                                                         Compute::float32),
    describe_variant<typename Tag::template rule<double, Variant>, double>(info, Variant,
                                                                           Compute::float64)),
   ...);
  for (const KernelTable* table : available_tables()) info.sweeps.push_back(table->rules + index);
  return info;
}

}  // namespace

const std::vector<RuleInfo>& registry() {
  static const std::vector<RuleInfo> rules = [] {
    std::vector<RuleInfo> list(rule_count(AllRules{}));
    for_each_rule(AllRules{}, [&](std::size_t index, auto tag) {
      using Tag = decltype(tag);
      list[index] = describe<Tag>(index, std::make_index_sequence<Tag::kVariants>{});
    });
    return list;
  }();
  return rules;
}

const RuleInfo& rule_called(const std::string& name) {
  for (const RuleInfo& rule : registry())
    if (name == rule.name) return rule;
  throw std::invalid_argument("no compiled rule named '" + name + "'");
}

std::size_t scalar_called(const std::string& name, const RuleInfo& rule) {
  std::size_t i = 0;
  while (i < rule.scalars.size() && name != rule.scalars.name[i]) ++i;
  return i;
}

}  // namespace fusedstep
