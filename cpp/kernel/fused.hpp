// The loops of rules and formats that everybody uses, in registers: what narrow.hpp does in stages,
// with the same functors and codecs and so the same bits. Included only by sweeps.hpp: internal
// linkage, compiled once per instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernel_table.hpp"
#include "rules/adam.hpp"
#include "rules/sgd.hpp"
#include "rules/sign.hpp"
#include "streams.hpp"

namespace fusedstep {
namespace {

// The rule over a register of elements. Arrays, since the rule is for single numbers; the compiler
// makes registers of them again.
template <class Rule, std::size_t... I>
FUSEDSTEP_HD void apply(const Rule& rule, FloatLanes& param, FloatLanes gradient,
                        FloatLanes* const (&state)[sizeof...(I)], std::index_sequence<I...>) {
  alignas(64) float p[kWidth], g[kWidth], s[sizeof...(I)][kWidth];
  store_lanes(p, param);
  store_lanes(g, gradient);
  (store_lanes(s[I], *state[I]), ...);
#pragma omp simd
  for (std::size_t i = 0; i < kWidth; ++i) rule(p[i], g[i], s[I][i]...);
  param = load_lanes<FloatLanes>(p);
  ((*state[I] = load_lanes<FloatLanes>(s[I])), ...);
}

// `blocks` blocks of elements from `at` on, the start of one.
template <class Rule, class Param, class Grad, class... States, std::size_t... I>
FUSEDSTEP_HD void fuse(const Rule rule, std::size_t at, std::size_t blocks, const Draw& draw,
                       Param param, Grad gradient, std::index_sequence<I...> each,
                       States... state) {
  constexpr bool kPaired = Param::kPairs && Grad::kPairs && (States::kPairs && ...);
  alignas(64) float waiting[sizeof...(I)][kBlock];
  alignas(64) std::uint32_t words[kRandomBlock / 2], offsets[kBlock];
  Rounds rounds;
  rounds.words = words;
  rounds.weyl.first = sequence(weyl(draw.step, at), kPaired ? 2 * kWeylElement : kWeylElement);
  rounds.weyl.second =
      rounds.weyl.first + (kPaired ? kWeylElement : std::uint32_t(kWidth) * kWeylElement);
  for (std::size_t block = at / kBlock; blocks > 0; --blocks, ++block) {
    Rounds now = rounds;
    param.start_block();
    gradient.start_block();
    (state.start_block(), ...);
    if constexpr (Param::kRandom) draw_words(draw, block, words);
#pragma GCC unroll 1
    for (std::size_t i = 0; i < kBlock; i += kTwice) {
      TwoFloats p = param.template read<kPaired>(i), s[] = {state.template read<kPaired>(i)...};
      const TwoFloats g = gradient.template read<kPaired>(i);
      apply(rule, p.first, g.first, {&s[I].first...}, each);
      apply(rule, p.second, g.second, {&s[I].second...}, each);
      param.template write<kPaired>(i, p, now);
      (state.template write<kPaired>(i, s[I], now, waiting[I]), ...);
      store_lanes(offsets + i, block_offset(now.weyl.first));
      store_lanes(offsets + i + kWidth, block_offset(now.weyl.second));
      now.weyl.first += kWeylTwice;
      now.weyl.second += kWeylTwice;
    }
    (state.template finish<kPaired>(offsets, waiting[I]), ...);
    rounds.weyl.first += std::uint32_t(kBlock) * kWeylElement;
    rounds.weyl.second += std::uint32_t(kBlock) * kWeylElement;
    param.next_block();
    gradient.next_block();
    (state.next_block(), ...);
  }
}

// How the states of a rule are stored: all alike.
template <FusedState How, class Rule, std::size_t I>
auto stream_of(const TensorView& tensor, std::size_t at) {
  constexpr State kState = Rule::kStates.state[I];
  using Stream = std::conditional_t<
      !kState.used, NoStream,
      std::conditional_t<
          How == FusedState::float32, FloatStream,
          std::conditional_t<How == FusedState::bfloat16, Bfloat16Stream,
                             BlockStream<std::conditional_t<kState.content == Content::square,
                                                            Unsigned8Codec, Signed8Codec>>>>>;
  return Stream(tensor.state[I], at);
}

template <class Rule, class Param, FusedState How, class Each>
struct FusedOf;

template <class Rule, class Param, FusedState How, std::size_t... I>
struct FusedOf<Rule, Param, How, std::index_sequence<I...>> {
  // The gradient of element `at` is the first of `gradient`: float32 or bfloat16.
  static void run(const void* rule, const TensorView& tensor, std::size_t at, const Array& gradient,
                  std::size_t blocks, const Draw& draw) {
    const auto go = [&](auto stream) {
      fuse(*static_cast<const Rule*>(rule), at, blocks, draw, Param(tensor, at), stream,
           std::index_sequence<I...>{}, stream_of<How, Rule, I>(tensor, at)...);
    };
    if (gradient.format == Format::bfloat16) return go(Bfloat16Stream(gradient, 0));
    go(FloatStream(gradient, 0));
  }
};

template <class Rule>
constexpr bool is_common = false;
template <>
constexpr bool is_common<Adam<float, 0>> = true;
template <>
constexpr bool is_common<AdamW<float, 0>> = true;
template <>
constexpr bool is_common<SGD<float, 1>> = true;  // with momentum
template <>
constexpr bool is_common<Lion<float, 0>> = true;

template <class Rule>
constexpr FusedSweeps make_fused_sweeps() {
  using Each = std::make_index_sequence<Rule::kStates.size()>;
  using Nearest = ParamStream<Rounding::nearest>;
  using Stochastic = ParamStream<Rounding::stochastic>;
  using Kahan = ParamStream<Rounding::kahan, 16>;
  using Split16 = ParamStream<Rounding::split, 16>;
  using Split8 = ParamStream<Rounding::split, 8>;
  constexpr FusedState kWhole = FusedState::float32, kHalf = FusedState::bfloat16,
                       kEight = FusedState::signed8;
  return {
      {{FusedOf<Rule, FloatParam, kWhole, Each>::run, FusedOf<Rule, FloatParam, kHalf, Each>::run,
        FusedOf<Rule, FloatParam, kEight, Each>::run},
       {FusedOf<Rule, Nearest, kWhole, Each>::run, FusedOf<Rule, Nearest, kHalf, Each>::run,
        FusedOf<Rule, Nearest, kEight, Each>::run},
       {FusedOf<Rule, Stochastic, kWhole, Each>::run, FusedOf<Rule, Stochastic, kHalf, Each>::run,
        FusedOf<Rule, Stochastic, kEight, Each>::run},
       {FusedOf<Rule, Kahan, kWhole, Each>::run, FusedOf<Rule, Kahan, kHalf, Each>::run,
        FusedOf<Rule, Kahan, kEight, Each>::run},
       {FusedOf<Rule, Split16, kWhole, Each>::run, FusedOf<Rule, Split16, kHalf, Each>::run,
        FusedOf<Rule, Split16, kEight, Each>::run},
       {FusedOf<Rule, Split8, kWhole, Each>::run, FusedOf<Rule, Split8, kHalf, Each>::run,
        FusedOf<Rule, Split8, kEight, Each>::run}}};
}
template <class Rule>
constexpr FusedSweeps kFusedSweeps = make_fused_sweeps<Rule>();

template <class Rule>
constexpr const FusedSweeps* fused_sweeps_of() {
  if constexpr (is_common<Rule>)
    return &kFusedSweeps<Rule>;
  else
    return nullptr;
}

}  // namespace
}  // namespace fusedstep
