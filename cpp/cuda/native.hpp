// Updates of arrays that are stored as computed.
#pragma once

#include <utility>

#include "formats/codes.hpp"
#include "work.hpp"

namespace fusedstep::cuda {

// What a thread needs to update elements of one task; in registers, like Source.
template <class Rule, class T>
struct NativeUpdater {
  Rule rule;
  Adjustment<T> adjust;
  Source<T> source;
  Streams streams;
  EMA<T, 0> ema;
  bool zero;

  FUSEDSTEP_HD NativeUpdater(const Sweep& sweep, const Work& work)
      : rule(rule_of<Rule>(work)),
        adjust(adjustment<T>(work)),
        source(sweep, work),
        streams(work.streams),
        ema({sweep.ema_decay}, 1),
        zero(sweep.zero) {}

  // What the rule sees of one element's gradient.
  FUSEDSTEP_HD T gradient(std::uint64_t i) const {
    const T p = static_cast<const T*>(streams.param)[i];
    return adjust(source.template gradient<1>(i).at[0], p);
  }

  // For row-wise rules, whose rows are numbered within the task, too.
  FUSEDSTEP_HD void settle(double mean_square, std::uint64_t row) const {
    settle(mean_square, row, std::make_index_sequence<Rule::kStates.size()>{});
  }
  FUSEDSTEP_HD void update_one(std::uint64_t i, std::uint64_t row) const { update<1>(i, row); }

  // Updates `Width` elements from element i on, whose states start at `at`.
  template <std::uint64_t Width>
  FUSEDSTEP_HD void update(std::uint64_t i, std::uint64_t at) const {
    update<Width>(i, at, std::make_index_sequence<Rule::kStates.size()>{});
  }

  template <std::size_t... I>
  FUSEDSTEP_HD void settle(double mean_square, std::uint64_t row, std::index_sequence<I...>) const {
    rule.settle(mean_square, static_cast<T*>(streams.state[I])[row]...);
  }

  template <std::uint64_t Width, std::size_t... I>
  FUSEDSTEP_HD void update(std::uint64_t i, std::uint64_t at, std::index_sequence<I...>) const {
    Pack<T, Width> param = load<Width, T>(streams.param, i), state[kMaxStates], average;
    ((Rule::kStates.state[I].used ? void(state[I] = load<Width, T>(streams.state[I], at)) : void()),
     ...);
    if (streams.average != nullptr) average = load<Width, T>(streams.average, i);
    // Last, since it computes: all loads are issued before the first wait.
    const Pack<T, Width> g = source.template gradient<Width>(i);
    for (std::uint64_t k = 0; k < Width; ++k) {
      const T adjusted = adjust(g.at[k], param.at[k]);
      if constexpr (is_rowwise<Rule>)
        rule(param.at[k], adjusted, rule.shared(state[I].at[k]...));
      else
        rule(param.at[k], adjusted, state[I].at[k]...);
    }
    store<Width, T>(streams.param, i, param);
    if constexpr (!is_rowwise<Rule>)
      ((Rule::kStates.state[I].used ? store<Width, T>(streams.state[I], at, state[I]) : void()),
       ...);
    if (streams.average != nullptr) {
      for (std::uint64_t k = 0; k < Width; ++k) ema(average.at[k], param.at[k]);
      store<Width, T>(streams.average, i, average);
    }
    if constexpr (sizeof(T) == sizeof(float)) {
      if (streams.copy != nullptr) {
        Pack<std::uint16_t, Width> copy;
        for (std::uint64_t k = 0; k < Width; ++k) copy.at[k] = bfloat16_bits(param.at[k]);
        store<Width, std::uint16_t>(streams.copy, i, copy);
      }
    }
    if (zero) source.template zero<Width>(i);
  }
};

// elements_to_pack() of all arrays of the task's update, or kMisaligned.
template <class T>
FUSEDSTEP_HD std::uint64_t common_head(const Sweep& sweep, const Task& task,
                                       const Streams& streams) {
  const std::uint64_t head = elements_to_pack(streams.param, sizeof(T), kPack<T>);
  bool same = true;
  const auto look = [&](const void* array, std::uint64_t item) {
    same = same && (array == nullptr || elements_to_pack(array, item, kPack<T>) == head);
  };
  for (std::size_t k = 0; k < kMaxStates; ++k) look(streams.state[k], sizeof(T));
  look(streams.average, sizeof(T));
  look(streams.copy, sizeof(std::uint16_t));
  for (std::uint64_t set = 0; set < task.set_count; ++set)
    look(sweep.sets[task.first_set + set], sizeof(T));
  return same ? head : kMisaligned;
}

template <class Rule, class T>
FUSEDSTEP_HD void update_chunk(Block block, const Sweep& sweep, const Work& work) {
  constexpr std::uint64_t kWidth = kPack<T>;
  block.each([&](unsigned thread) {
    const NativeUpdater<Rule, T> updater(sweep, work);
    const Deal d(work.begin, work.end, common_head<T>(sweep, work.task, updater.streams), kWidth);
    FUSEDSTEP_ROLLED
    for (std::uint64_t pack = thread; pack < d.packs; pack += kThreads)
      updater.template update<kWidth>(d.body + pack * kWidth, d.body + pack * kWidth);
    FUSEDSTEP_ROLLED
    for (std::uint64_t k = thread; k < d.singles; k += kThreads)
      updater.template update<1>(d.single(k), d.single(k));
  });
}

}  // namespace fusedstep::cuda
