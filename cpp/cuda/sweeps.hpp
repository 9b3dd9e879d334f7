// The sweeps of a step, each one launch.
#pragma once

#include <cstring>
#include <new>
#include <utility>

#include "formats/codes.hpp"
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

template <class Rule>
FUSEDSTEP_HD Rule make_rule(const GroupOptions& group, std::int64_t t) {
  typename Rule::Scalars scalars;
  if constexpr (Rule::kScalars.size() != 0) std::memcpy(&scalars, group.scalars, sizeof scalars);
  return Rule(scalars, t);
}

template <class T>
FUSEDSTEP_HD void* from_element(const Array& array, std::uint64_t i) {
  return array ? static_cast<T*>(array.data) + i : nullptr;
}

template <class Rule, class T>
FUSEDSTEP_HD Streams streams_of(const Task& task) {
  const TensorView& tensor = task.tensor;
  const std::uint64_t first = task.first,
                      state = is_rowwise<Rule> ? first / tensor.row_size : first;
  Streams streams;
  streams.param = from_element<T>(tensor.param, first);
  for (std::size_t k = 0; k < kMaxStates; ++k)
    streams.state[k] = from_element<T>(tensor.state[k], state);
  streams.average = from_element<T>(tensor.average, first);
  streams.copy = from_element<std::uint16_t>(tensor.copy, first);
  return streams;
}

// Thread 0 makes this step's functor, for the whole block.
template <class Rule, class T>
FUSEDSTEP_HD void prepare_rule(Block block, const Sweep& sweep, Work& work) {
  block.each([&](unsigned thread) {
    if (thread != 0) return;
    Rule rule = make_rule<Rule>(work.group, sweep.steps[work.task.counter] + 1);
    if constexpr (is_layerwise<Rule>)
      rule.scale(sweep.norms[work.index].param, sweep.norms[work.index].direction);
    std::memcpy(work.rule.bytes, &rule, sizeof rule);
    work.streams = streams_of<Rule, T>(work.task);
  });
}

template <class Rule>
FUSEDSTEP_HD Rule rule_of(const Work& work) {
  return *static_cast<const Rule*>(static_cast<const void*>(work.rule.bytes));
}

// What a thread needs to update elements of one task; in registers, like Source.
template <class Rule, class T>
struct Updater {
  Rule rule;
  Adjustment<T> adjust;
  Source<T> source;
  Streams streams;
  EMA<T, 0> ema;
  bool zero;

  FUSEDSTEP_HD Updater(const Sweep& sweep, const Work& work)
      : rule(rule_of<Rule>(work)),
        adjust(adjustment<T>(work)),
        source(sweep, work),
        streams(work.streams),
        ema({sweep.ema_decay}, 1),
        zero(sweep.zero) {}

  // Updates `Width` elements from element i on, whose states start at `at`.
  template <std::uint64_t Width>
  FUSEDSTEP_HD void update(std::uint64_t i, std::uint64_t at) const {
    update<Width>(i, at, std::make_index_sequence<Rule::kStates.size()>{});
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
    const Updater<Rule, T> updater(sweep, work);
    const Deal d(work.begin, work.end, common_head<T>(sweep, work.task, updater.streams), kWidth);
    FUSEDSTEP_ROLLED
    for (std::uint64_t pack = thread; pack < d.packs; pack += kThreads)
      updater.template update<kWidth>(d.body + pack * kWidth, d.body + pack * kWidth);
    FUSEDSTEP_ROLLED
    for (std::uint64_t k = thread; k < d.singles; k += kThreads)
      updater.template update<1>(d.single(k), d.single(k));
  });
}

// The rows that start in the chunk, one warp each: sum of squares, states, then elements.
template <class Rule, class T, std::size_t... I>
FUSEDSTEP_HD void update_rows(Block block, const Sweep& sweep, Work& work,
                              std::index_sequence<I...>) {
  const Updater<Rule, T> updater(sweep, work);
  const Streams& streams = updater.streams;
  const std::uint64_t size = work.task.tensor.row_size, begin = work.begin, end = work.end;
  const std::uint64_t last = (end + size - 1) / size;
  const auto tree = [&](std::uint64_t warp) -> RunningTree& {
    return *static_cast<RunningTree*>(static_cast<void*>(work.trees[warp]));
  };
  for (std::uint64_t first = (begin + size - 1) / size; first < last; first += kWarps) {
    const std::uint64_t rows = last - first < kWarps ? last - first : kWarps;
    block.each([&](unsigned thread) {
      if (thread < rows) new (work.trees[thread]) RunningTree;
    });
    for (std::uint64_t from = 0; from < size; from += kReduceBlock)
      sum_units<1, 1>(
          block, work.lanes, rows,
          [&](std::uint64_t) { return size - from < kReduceBlock ? size - from : kReduceBlock; },
          [&](std::uint64_t row, std::uint64_t i) {
            const std::uint64_t at = (first + row) * size + from + i;
            const T p = static_cast<const T*>(streams.param)[at];
            return double(updater.adjust(updater.source.template gradient<1>(at).at[0], p));
          },
          [](double g, double* sums) { sums[0] = sums[0] + g * g; },
          [&](std::uint64_t row, const double* totals) { tree(row).add(totals[0]); });
    block.each([&](unsigned thread) {
      if (thread >= rows) return;
      const double mean_square = tree(thread).sum() / double(size);
      updater.rule.settle(mean_square, static_cast<T*>(streams.state[I])[first + thread]...);
    });
    block.each([&](unsigned thread) {
      const std::uint64_t row = first + thread / kWarp;
      if (row >= last) return;
      for (std::uint64_t i = thread % kWarp; i < size; i += kWarp)
        updater.template update<1>(row * size + i, row);
    });
  }
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

// Updates the parameters, then the counters.
template <class Tag>
struct Update {
  FUSEDSTEP_HD static void run(Block block, const Sweep& sweep, Work& work) {
    const bool applied = move_chunk<Tag>(block, sweep, work, [&](auto* which, auto number) {
      using Rule = std::remove_pointer_t<decltype(which)>;
      using T = decltype(number);
      if constexpr (is_rowwise<Rule>)
        update_rows<Rule, T>(block, sweep, work, std::make_index_sequence<Rule::kStates.size()>{});
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
  block.each([&](unsigned thread) {
    const std::uint64_t threads = std::uint64_t(block.count) * kThreads;
    FUSEDSTEP_ROLLED
    for (std::uint64_t i = std::uint64_t(block.index) * kThreads + thread; i < clear.count;
         i += threads)
      clear.words[i] = 0;
  });
}

// Reads the gradients for their norm.
struct Measure {
  FUSEDSTEP_HD static void run(Block block, const Sweep& sweep, Work& work) {
    take_up(block, sweep, work);
    if (work.begin < work.end) {
      switch (work.task.compute) {
        case Compute::float32:
          sum_chunk<float>(block, sweep, work);
          break;
        case Compute::float64:
          sum_chunk<double>(block, sweep, work);
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

  template <class T>
  FUSEDSTEP_HD static void sum_chunk(Block block, const Sweep& sweep, Work& work) {
    const ReduceUnits units(work);
    const Source<T> source(sweep, work);
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
template <class Tag>
struct Probe {
  FUSEDSTEP_HD static void run(Block block, const Sweep& sweep, Work& work) {
    move_chunk<Tag>(block, sweep, work, [&](auto* which, auto number) {
      using Rule = std::remove_pointer_t<decltype(which)>;
      probe_chunk<Rule, decltype(number)>(block, sweep, work,
                                          std::make_index_sequence<Rule::kStates.size()>{});
      if (completes_task(block, sweep, work)) finish(block, sweep, work);
    });
  }

  template <class Rule, class T, std::size_t... I>
  FUSEDSTEP_HD static void probe_chunk(Block block, const Sweep& sweep, Work& work,
                                       std::index_sequence<I...>) {
    const ReduceUnits units(work);
    const Streams streams = work.streams;
    const Source<T> source(sweep, work);
    const Adjustment<T> adjust = adjustment<T>(work);
    const Rule rule = rule_of<Rule>(work);
    sum_units<2, 1>(
        block, work.lanes, units.count(), [&](std::uint64_t unit) { return units.size(unit); },
        [&](std::uint64_t unit, std::uint64_t i) {
          const std::uint64_t at = units.start(unit) + i;
          const T p = static_cast<const T*>(streams.param)[at];
          const T g = adjust(source.template gradient<1>(at).at[0], p);
          T unused[kMaxStates];
          const double d = double(rule.probe(
              p, g,
              Rule::kStates.state[I].used ? static_cast<T*>(streams.state[I])[at] : unused[I]...));
          return Pack<double, 2>{{double(p), d}};
        },
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
