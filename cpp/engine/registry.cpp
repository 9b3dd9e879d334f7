#include "registry.hpp"

#include <cstring>
#include <type_traits>
#include <utility>

namespace fusedstep {
namespace {

template <class Rule>
void prepare(const double* scalars, std::int64_t t, FunctorBytes* out) {
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
  const Rule rule(s, t);
  std::memcpy(out, &rule, sizeof rule);
}

template <class Tag, std::size_t... Variant>
RuleInfo describe(std::index_sequence<Variant...>) {
  using Plain = typename Tag::template rule<float, 0>;
  RuleInfo info{
      Plain::kName, Plain::kScalars, Plain::kFlags, is_layerwise<Plain>, is_rowwise<Plain>, {}, {}};
  ((info.states[Variant] = Tag::template rule<float, Variant>::kStates,
    info.prepare[Variant][0] = prepare<typename Tag::template rule<float, Variant>>,
    info.prepare[Variant][1] = prepare<typename Tag::template rule<double, Variant>>),
   ...);
  return info;
}

}  // namespace

const std::array<RuleInfo, kRules>& registry() {
  static const std::array<RuleInfo, kRules> rules = [] {
    std::array<RuleInfo, kRules> list;
    for_each_rule(AllRules{}, [&](std::size_t index, auto tag) {
      using Tag = decltype(tag);
      list[index] = describe<Tag>(std::make_index_sequence<Tag::kVariants>{});
    });
    return list;
  }();
  return rules;
}

}  // namespace fusedstep
