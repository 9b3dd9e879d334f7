// Updates of tensors of which some array, or gradient, is stored in fewer bits than it is computed
// in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "work.hpp"

namespace fusedstep::cuda {

template <class Rule>
constexpr bool probe_stores() {
  if constexpr (is_layerwise<Rule>)
    return Rule::kProbeStores;
  else
    return false;
}

// A warp has a block of elements that share scales, and each of its threads the elements kWarp
// apart: neighbouring threads read neighbouring elements, wherever the arrays begin; and these are
// the elements that one call of Philox is for.
template <class Rule>
class NarrowUpdater {
  static constexpr std::size_t kStates = Rule::kStates.size();
  static constexpr unsigned kOwn = kBlock / kWarp;  // elements of a thread
  static_assert(kRandomBlock == kBlock && kOwn == 4, "words of Philox, one for each");
  using States = std::make_index_sequence<kStates>;

  // The elements of a thread.
  struct Own {
    float param[kOwn], gradient[kOwn];
    float state[kStates + 1][kOwn];  // an array needs an element
    Word greatest[kStates + 1];      // magnitude: of the thread's, then of the block's
  };

 public:
  FUSEDSTEP_HD NarrowUpdater(const Sweep& sweep, const Work& work)
      : tensor_(work.task.tensor),
        param_(tensor_),
        rule_(rule_of<Rule>(work)),
        adjust_(adjustment<float>(work)),
        source_(sweep, work),
        ema_({sweep.ema_decay}, 1),
        draw_{sweep.seed, std::uint64_t(sweep.steps[work.task.counter]) + 1, tensor_.number},
        first_(work.task.first),
        begin_(first_ + work.begin),
        end_(first_ + work.end),
        zero_(sweep.zero) {}

  // All elements of the chunk.
  FUSEDSTEP_HD void update(Block block) const {
    visit_blocks<!probe_stores<Rule>()>(block, [&](std::uint64_t number, unsigned lane, Own& own) {
      const auto random =
          param_.is_random() ? random_words(draw_, number, Word(lane / 2)) : PhiloxWords<Word>{};
      for (unsigned k = 0; k < kOwn; ++k) {
        const std::uint64_t i = element_of(number, lane, k);
        if (!has(i)) continue;
        with_states(
            own, k, [&](auto&... state) { rule_(own.param[k], own.gradient[k], state...); },
            States{});
        const Word word = random.word[k];
        put(i, own.param[k], lane % 2 == 0 ? word << 16 : word & 0xffff0000u);
      }
    });
  }

  // First sweep of a layer-wise rule, where it updates the states.
  FUSEDSTEP_HD void probe(Block block) const {
    visit_blocks<true>(block, [&](std::uint64_t number, unsigned lane, Own& own) {
      for (unsigned k = 0; k < kOwn; ++k)
        if (has(element_of(number, lane, k)))
          with_states(
              own, k, [&](auto&... state) { rule_.probe(own.param[k], own.gradient[k], state...); },
              States{});
    });
  }

  // The parameter, and its direction by the states as they are stored.
  FUSEDSTEP_HD Pack<double, 2> direction(std::uint64_t i) const { return direction(i, States{}); }

  // For row-wise rules: elements and rows of the task, one by one.
  FUSEDSTEP_HD float gradient(std::uint64_t i) const {
    return adjust_(source_.template gradient<1>(i).at[0], param_.load(first_ + i));
  }
  FUSEDSTEP_HD void settle(double mean_square, std::uint64_t row) const {
    settle(mean_square, row, States{});
  }
  FUSEDSTEP_HD void update_one(std::uint64_t i, std::uint64_t row) const {
    update_one(i, row, States{});
  }

 private:
  // Calls visit(number, lane, own) for every block of elements of the chunk, by its number within
  // the tensor, then stores the states. The chunk contains whole blocks if they have scales.
  template <bool Stores, class Visit>
  FUSEDSTEP_HD void visit_blocks(Block block, Visit visit) const {
    PerThread<Own> owns;
    FUSEDSTEP_ROLLED
    for (std::uint64_t base = begin_ / kBlock; base * kBlock < end_; base += kWarps) {
      block.each([&](unsigned thread) {
        const std::uint64_t number = base + thread / kWarp;
        Own& own = owns[thread];
        take(number, thread % kWarp, own, States{});
        visit(number, thread % kWarp, own);
        if constexpr (Stores) find_greatest(number, thread % kWarp, own);
      });
      if constexpr (Stores) {
        share_greatest(owns);
        block.each([&](unsigned thread) {
          store_states(base + thread / kWarp, thread % kWarp, owns[thread]);
        });
      }
    }
  }

  FUSEDSTEP_HD static std::uint64_t element_of(std::uint64_t number, unsigned lane, unsigned k) {
    return number * kBlock + k * kWarp + lane;
  }
  FUSEDSTEP_HD bool has(std::uint64_t i) const { return begin_ <= i && i < end_; }
  FUSEDSTEP_HD bool has_scales(std::size_t state) const {
    return tensor_.state[state].scales != nullptr;
  }

  // Loads all before anything waits.
  template <std::size_t... I>
  FUSEDSTEP_HD void take(std::uint64_t number, unsigned lane, Own& own,
                         std::index_sequence<I...>) const {
    for (unsigned k = 0; k < kOwn; ++k) {
      const std::uint64_t i = element_of(number, lane, k);
      if (!has(i)) continue;
      own.param[k] = param_.load(i);
      own.gradient[k] = source_.template combine<1>(i - first_).at[0];
      ((own.state[I][k] = state_at<I>(i)), ...);
    }
    for (unsigned k = 0; k < kOwn; ++k)
      if (has(element_of(number, lane, k)))
        own.gradient[k] = adjust_(source_.unscale(own.gradient[k]), own.param[k]);
  }

  template <class Body, std::size_t... I>
  FUSEDSTEP_HD static void with_states([[maybe_unused]] Own& own, [[maybe_unused]] unsigned k,
                                       Body body, std::index_sequence<I...>) {
    body(own.state[I][k]...);
  }

  // Calls body(state) for the states that the rule has, by number: a constant, as a type.
  template <class Body, std::size_t... I>
  FUSEDSTEP_HD static void for_each_state([[maybe_unused]] Body body, std::index_sequence<I...>) {
    ((Rule::kStates.state[I].used ? body(std::integral_constant<std::size_t, I>{}) : void()), ...);
  }

  FUSEDSTEP_HD void find_greatest(std::uint64_t number, unsigned lane, Own& own) const {
    for_each_state(
        [&](auto state) {
          if (!has_scales(state)) return;
          Word greatest = 0;
          for (unsigned k = 0; k < kOwn; ++k) {
            if (!has(element_of(number, lane, k))) continue;
            const Word one = magnitude_of(tensor_.state[state].format, own.state[state][k]);
            greatest = one > greatest ? one : greatest;
          }
          own.greatest[state] = greatest;
        },
        States{});
  }

  FUSEDSTEP_HD void share_greatest(PerThread<Own>& owns) const {
    for_each_state(
        [&](auto state) {
          if (has_scales(state))
            greatest_of_warp(
                [&](unsigned thread) -> Word& { return owns[thread].greatest[state]; });
        },
        States{});
  }

  FUSEDSTEP_HD void store_states(std::uint64_t number, unsigned lane, const Own& own) const {
    for_each_state(
        [&](auto state) {
          const Array& array = tensor_.state[state];
          const float scale = has_scales(state) ? block_scale(own.greatest[state]) : 1.0f;
          for (unsigned k = 0; k < kOwn; ++k) {
            const std::uint64_t i = element_of(number, lane, k);
            if (has(i)) store_state(array, i, own.state[state][k], scale, weyl(draw_.step, i));
          }
          if (has_scales(state) && lane == 0 && number * kBlock < end_)
            *element(array.scales, number) = scale;
        },
        States{});
  }

  // Stores a parameter, and what follows it.
  FUSEDSTEP_HD void put(std::uint64_t i, float number, Word random) const {
    const float stored = param_.store(i, number, weyl(draw_.step, i), random);
    if (tensor_.average) ema_(at<float>(tensor_.average.data, i), stored);
    if (tensor_.copy) at<std::uint16_t>(tensor_.copy.data, i) = bfloat16_bits(stored);
    if (zero_) source_.template zero<1>(i - first_);
  }

  template <std::size_t I>
  FUSEDSTEP_HD float state_at(std::uint64_t i) const {
    if constexpr (Rule::kStates.state[I].used)
      return load_state(tensor_.state[I], i);
    else
      return 0.0f;
  }
  template <std::size_t... I>
  FUSEDSTEP_HD Pack<double, 2> direction(std::uint64_t i, std::index_sequence<I...>) const {
    const float p = param_.load(first_ + i);
    const float g = adjust_(source_.template gradient<1>(i).at[0], p);
    const float d = rule_.direction(p, g, state_at<I>(first_ + i)...);
    return {{double(p), double(d)}};
  }

  template <std::size_t... I>
  FUSEDSTEP_HD void settle(double mean_square, std::uint64_t row, std::index_sequence<I...>) const {
    rule_.settle(mean_square, state_of_row<I>(row)...);
  }
  template <std::size_t I>
  FUSEDSTEP_HD float& state_of_row(std::uint64_t row) const {
    return at<float>(tensor_.state[I].data, first_ / tensor_.row_size + row);
  }

  template <std::size_t... I>
  FUSEDSTEP_HD void update_one(std::uint64_t i, std::uint64_t row,
                               std::index_sequence<I...>) const {
    float p = param_.load(first_ + i);
    const float g = adjust_(source_.template gradient<1>(i).at[0], p);
    rule_(p, g, rule_.shared(state_of_row<I>(row)...));
    put(first_ + i, p, param_.is_random() ? fusedstep::random_bits(draw_, first_ + i) : 0);
  }

  const TensorView& tensor_;
  const Parameter param_;
  const Rule rule_;
  const Adjustment<float> adjust_;
  const Source<float, true> source_;
  const EMA<float, 0> ema_;
  const Draw draw_;
  const std::uint64_t first_, begin_, end_;  // begin and end: elements of the tensor
  const bool zero_;
};

}  // namespace fusedstep::cuda
