// The sweeps of a step, each one launch.
#pragma once

#include <type_traits>
#include <utility>

#include "narrow.hpp"
#include "native.hpp"
#include "rows.hpp"
#include "rules/rules.hpp"
#include "work.hpp"

namespace fusedstep::cuda {

// Calls visit(rule, number), passing types only, for the rule of this variant and type.
template <class Tag, class Visit, std::size_t... Variant>
FUSEDSTEP_HD void with_variant(unsigned variant, Compute compute, Visit visit,
                               std::index_sequence<Variant...>) {
  const auto visit_one = [&](auto which) {
    constexpr unsigned kVariant = decltype(which)::value;
    switch (compute) {
      case Compute::float32:
        return visit(static_cast<typename Tag::template rule<float, kVariant>*>(nullptr), float{});
      case Compute::float64:
        return visit(static_cast<typename Tag::template rule<double, kVariant>*>(nullptr),
                     double{});
    }
  };
  ((variant == Variant ? visit_one(std::integral_constant<unsigned, Variant>{}) : void()), ...);
}

// Calls move(rule, number), passing types only, for the block's chunk, with its functor prepared,
// unless the step is cancelled. Returns whether it is applied.
template <class Tag, class Move>
FUSEDSTEP_HD bool move_chunk(Block block, const Sweep& sweep, Work& work, Move move) {
  const bool applied = !is_called_off(sweep);
  take_up(block, sweep, work);
  if (applied && work.begin < work.end)
    with_variant<Tag>(
        work.group.variant, work.task.compute,
        [&](auto* which, auto number) {
          prepare_rule<std::remove_pointer_t<decltype(which)>, decltype(number)>(block, sweep,
                                                                                 work);
          move(which, number);
        },
        std::make_index_sequence<Tag::kVariants>{});
  return applied;
}

// Whether narrow arrays are computed in T.
template <class T>
constexpr bool kComputesNarrow = std::is_same_v<T, float>;

// Updates the parameters, then the counters. `Narrow`: a kernel of its own, which steps over all
// tensors of a launch that has narrow ones, so that others keep their registers.
template <class Tag, bool Narrow>
struct Update {
  FUSEDSTEP_HD static void run(Block block, const Sweep& sweep, Work& work) {
    const bool applied = move_chunk<Tag>(block, sweep, work, [&](auto* which, auto number) {
      using Rule = std::remove_pointer_t<decltype(which)>;
      using T = decltype(number);
      constexpr bool kNarrow = Narrow && kComputesNarrow<T>;
      using Updater = std::conditional_t<kNarrow, NarrowUpdater<Rule>, NativeUpdater<Rule, T>>;
      if constexpr (is_rowwise<Rule>)
        update_rows(block, work, Updater(sweep, work));
      else if constexpr (kNarrow)
        Updater(sweep, work).update(block);
      else
        update_chunk<Rule, T>(block, sweep, work);
    });
    if (is_last(block, sweep, work)) finish(block, sweep, applied);
  }

  FUSEDSTEP_HD static void finish(Block block, const Sweep& sweep, bool applied) {
    block.each([&](unsigned thread) {
      if (applied)
        for (std::uint64_t k = thread; k < sweep.counter_count; k += kThreads)
          ++sweep.steps[sweep.counters[k]];
      if (thread != 0) return;
      Progress& progress = *sweep.progress;
      if (applied && sweep.counts) ++progress.step_count;
      progress.found = progress.nonfinite;
      progress.nonfinite = kNone;
    });
  }
};

// Zeroes the gradient of a frozen tensor.
FUSEDSTEP_HD void run_clear(Block block, const Clear& clear) {
  if (clear.guards && clear.progress->found != kNone) return;
  const auto zero = [&](auto number) {
    using T = decltype(number);
    block.each([&](unsigned thread) {
      const std::uint64_t threads = std::uint64_t(block.count) * kThreads;
      FUSEDSTEP_ROLLED
      for (std::uint64_t i = std::uint64_t(block.index) * kThreads + thread;
           i < clear.bytes / sizeof(T); i += threads)
        at<T>(clear.data, i) = T(0);
    });
  };
  if ((reinterpret_cast<std::uintptr_t>(clear.data) | clear.bytes) % sizeof(std::uint32_t) == 0)
    zero(std::uint32_t{});
  else
    zero(std::uint16_t{});
}

// Reads the gradients for their norm.
template <bool Narrow>
struct Measure {
  FUSEDSTEP_HD static void run(Block block, const Sweep& sweep, Work& work) {
    take_up(block, sweep, work);
    if (work.begin < work.end) {
      switch (work.task.compute) {
        case Compute::float32:
          sum_chunk<float>(block, sweep, work, Source<float, Narrow>(sweep, work));
          break;
        case Compute::float64:
          sum_chunk<double>(block, sweep, work, Source<double>(sweep, work));
          break;
      }
      if (completes_task(block, sweep, work)) {
        sum_task(block, work, sweep.sums);
        block.each([&](unsigned thread) {
          if (thread == 0) sweep.task_sums[work.index] = work.total;
        });
      }
    }
    if (is_last(block, sweep, work)) finish(block, sweep, work);
  }

  template <class T, class Source>
  FUSEDSTEP_HD static void sum_chunk(Block block, const Sweep& sweep, Work& work,
                                     const Source source) {
    const ReduceUnits units(work);
    sum_units<1, 8>(
        block, work.lanes, units.count(), [&](std::uint64_t unit) { return units.size(unit); },
        [&](std::uint64_t unit, std::uint64_t i) {
          return source.template combine<1>(units.start(unit) + i).at[0];
        },
        [&](T combined, double* sums) {  // a division between the loads would serialize them
          const T g = source.unscale(combined);
          if (!(g - g == T(0))) atomic_min(&sweep.progress->nonfinite, work.task.slot);
          const double x = double(g);
          sums[0] = sums[0] + x * x;
        },
        [&](std::uint64_t unit, const double* totals) {
          sweep.sums[work.task.first_block + units.first() + unit] = totals[0];
        });
  }

  FUSEDSTEP_HD static void finish(Block block, const Sweep& sweep, Work& work) {
    constexpr std::uint64_t kAllGroups = ~std::uint64_t{0};
    const auto norm = [&](std::uint64_t group, double* result) {
      block_tree_sum(
          block, work.lanes, sweep.slot_count,
          [&](std::uint64_t slot) {
            const std::uint32_t task = sweep.task_of_slot[slot];
            const bool counts =
                task != kNone && (group == kAllGroups || sweep.tasks[task].group == group);
            return counts ? load_l2(sweep.task_sums + task) : 0.0;
          },
          sweep.scratch, result);
    };
    norm(kAllGroups, &work.total);
    for (std::uint64_t g = 0; g < sweep.group_count; ++g) {
      const GroupOptions& group = sweep.groups[g];
      const bool own = group.clips && sweep.clip_per_group;
      if (own) norm(g, &work.other);
      block.each([&](unsigned thread) {
        if (thread != 0) return;
        const double length = square_root(own ? work.other : work.total);
        sweep.clips[g] = group.clips ? clip_factor(group.max_norm, length) : 1.0;
      });
    }
    block.each([&](unsigned thread) {
      if (thread != 0) return;
      const bool finite = load_l2(&sweep.progress->nonfinite) == kNone;
      if (sweep.applied != nullptr) *sweep.applied = !sweep.guards || finite;
      if (sweep.grad_norm != nullptr) *sweep.grad_norm = square_root(work.total);
    });
  }
};

// First sweep of a layer-wise rule.
template <class Tag, bool Narrow>
struct Probe {
  FUSEDSTEP_HD static void run(Block block, const Sweep& sweep, Work& work) {
    move_chunk<Tag>(block, sweep, work, [&](auto* which, auto number) {
      using Rule = std::remove_pointer_t<decltype(which)>;
      using T = decltype(number);
      if constexpr (Narrow && kComputesNarrow<T>)
        probe_narrow<Rule>(block, sweep, work);
      else
        probe_native<Rule, T>(block, sweep, work, std::make_index_sequence<Rule::kStates.size()>{});
      if (completes_task(block, sweep, work)) finish(block, sweep, work);
    });
  }

  template <class Rule, class T, std::size_t... I>
  FUSEDSTEP_HD static void probe_native(Block block, const Sweep& sweep, Work& work,
                                        std::index_sequence<I...>) {
    const Streams streams = work.streams;
    const Source<T> source(sweep, work);
    const Adjustment<T> adjust = adjustment<T>(work);
    const Rule rule = rule_of<Rule>(work);
    sum_squares(block, sweep, work, [&](std::uint64_t at) {
      const T p = static_cast<const T*>(streams.param)[at];
      const T g = adjust(source.template gradient<1>(at).at[0], p);
      T unused[kMaxStates];
      const double d = double(rule.probe(
          p, g,
          Rule::kStates.state[I].used ? static_cast<T*>(streams.state[I])[at] : unused[I]...));
      return Pack<double, 2>{{double(p), d}};
    });
  }

  // Once more through the chunk: the direction is that of the states as they are stored.
  template <class Rule>
  FUSEDSTEP_HD static void probe_narrow(Block block, const Sweep& sweep, Work& work) {
    const NarrowUpdater<Rule> updater(sweep, work);
    if constexpr (Rule::kProbeStores) updater.probe(block);
    sum_squares(block, sweep, work, [&](std::uint64_t at) { return updater.direction(at); });
  }

  // Sums the squares of number(i), a parameter and its direction, over the chunk.
  template <class Number>
  FUSEDSTEP_HD static void sum_squares(Block block, const Sweep& sweep, Work& work, Number number) {
    const ReduceUnits units(work);
    sum_units<2, 1>(
        block, work.lanes, units.count(), [&](std::uint64_t unit) { return units.size(unit); },
        [&](std::uint64_t unit, std::uint64_t i) { return number(units.start(unit) + i); },
        [](const Pack<double, 2>& of, double* sums) {
          sums[0] = sums[0] + of.at[0] * of.at[0];
          sums[1] = sums[1] + of.at[1] * of.at[1];
        },
        [&](std::uint64_t unit, const double* totals) {
          const std::uint64_t at = work.task.first_block + units.first() + unit;
          sweep.param_sums[at] = totals[0];
          sweep.sums[at] = totals[1];
        });
  }

  FUSEDSTEP_HD static void finish(Block block, const Sweep& sweep, Work& work) {
    Norms& norms = sweep.norms[work.index];
    const auto norm = [&](double* sums, double& result) {
      sum_task(block, work, sums);
      block.each([&](unsigned thread) {
        if (thread == 0) result = square_root(work.total);
      });
    };
    norm(sweep.param_sums, norms.param);
    norm(sweep.sums, norms.direction);
  }
};

}  // namespace fusedstep::cuda
