// The work of a block, and the gradient that its rule sees.
#pragma once

#include <cstring>

#include "block.hpp"
#include "engine/registry.hpp"
#include "kernel/adjustment.hpp"
#include "numbers.hpp"
#include "packs.hpp"
#include "reduction.hpp"
#include "rules/ema.hpp"
#include "tables.hpp"

namespace fusedstep::cuda {

// The arrays of a task, offset to its first element.
struct Streams {
  void* param;
  void* state[kMaxStates];  // for a row-wise rule, from its first row's state
  void* average;
  void* copy;
};

// A block's chunk, looked up once, and its shared memory.
struct Work {
  Task task;
  GroupOptions group;
  std::uint64_t begin, end;  // empty if there is nothing to do
  double scale, clip;
  bool combined;        // several gradients, or a weighted one
  std::uint32_t index;  // of the task
  bool completes;       // this block is the last to sum its task
  bool last;            // this block is the last to finish the sweep
  FunctorBytes rule;
  Streams streams;  // shared: else each thread takes 96 registers for 80
  Lanes lanes[2];
  double total, other;
  alignas(RunningTree) std::byte trees[kWarps][sizeof(RunningTree)];  // for row-wise rules
};

FUSEDSTEP_HD double scale_of(const Sweep& sweep) {
  if (!sweep.scale_at) return sweep.scale;
  if (sweep.scale_at.format == Format::float64)
    return *static_cast<const double*>(sweep.scale_at.data);
  return double(*static_cast<const float*>(sweep.scale_at.data));  // other formats are refused
}

// A guarded step that found a non-finite gradient changes nothing.
FUSEDSTEP_HD bool is_called_off(const Sweep& sweep) {
  return sweep.guards && sweep.progress->nonfinite != kNone;
}

// First phase of a block.
FUSEDSTEP_HD void take_up(Block block, const Sweep& sweep, Work& work) {
  block.each([&](unsigned thread) {
    if (thread != 0) return;
    work.begin = work.end = 0;
    if (block.index >= sweep.chunks.count) return;  // a step without elements still has one block
    const Chunk chunk = sweep.chunks.list[block.index];
    work.index = chunk.task;
    work.task = sweep.tasks[chunk.task];
    work.group = sweep.groups[work.task.group];
    const std::uint64_t rest = work.task.size - chunk.begin;
    work.begin = chunk.begin;
    work.end = chunk.begin + (rest < sweep.chunks.size ? rest : sweep.chunks.size);
    work.scale = scale_of(sweep);
    work.clip = sweep.measures ? sweep.clips[work.task.group] : 1.0;
    work.combined = sweep.weights != nullptr || work.task.set_count > 1;
  });
}

// Whether this block is the last of `count` to draw from a ticket; if so, it sees all their writes.
// `last` belongs to this draw only: a slow thread may still read it during the next one.
FUSEDSTEP_HD bool comes_last(Block block, unsigned* ticket, unsigned count, bool& last) {
  block.each([&](unsigned thread) {
    if (thread != 0) return;
    last = count == 1 || take_ticket(ticket) == count - 1;
    if (last) *ticket = 0;
  });
  return last;
}

FUSEDSTEP_HD bool completes_task(Block block, const Sweep& sweep, Work& work) {
  return comes_last(block, sweep.tickets + work.index, work.task.chunks, work.completes);
}

FUSEDSTEP_HD bool is_last(Block block, const Sweep& sweep, Work& work) {
  return comes_last(block, &sweep.progress->ticket, block.count, work.last);
}

template <class T>
FUSEDSTEP_HD Adjustment<T> adjustment(const Work& work) {
  const GroupOptions& group = work.group;
  return {1.0, work.clip, group.max_value, group.maximize, group.weight_decay};
}

// Sources of the gradient, in registers: the compiler must assume that stores alias memory, and
// would reload them every time. `Narrow`: of any format that is computed in T, one element at a
// time.
template <class T, bool Narrow = false>
struct Source {
  void* first;
  void* const* sets;
  const Format* formats;
  std::uint64_t count;
  const double* weights;
  T divisor, scale;
  bool combined, scaled;

  FUSEDSTEP_HD Source(const Sweep& sweep, const Work& work)
      : first(sweep.sets[work.task.first_set]),
        sets(sweep.sets + work.task.first_set),
        formats(sweep.formats == nullptr ? nullptr : sweep.formats + work.task.first_set),
        count(work.task.set_count),
        weights(sweep.weights),
        divisor(T(sweep.divisor)),
        scale(T(work.scale)),
        combined(work.combined),
        scaled(work.scale != 1.0) {}

  FUSEDSTEP_HD void* array(std::uint64_t set) const { return set == 0 ? first : sets[set]; }
  FUSEDSTEP_HD Format format(std::uint64_t set) const {
    return formats == nullptr ? Format::float32 : formats[set];
  }

  template <std::uint64_t Width>
  FUSEDSTEP_HD Pack<T, Width> load_set(std::uint64_t set, std::uint64_t i) const {
    if constexpr (Narrow)
      return {{load_number(array(set), format(set), i)}};
    else
      return load<Width, T>(array(set), i);
  }

  // Combines the gradients of `Width` elements.
  template <std::uint64_t Width>
  FUSEDSTEP_HD Pack<T, Width> combine(std::uint64_t i) const {
    Pack<T, Width> g = load_set<Width>(0, i);
    if (combined) {
      FUSEDSTEP_ROLLED
      for (std::uint64_t set = 0; set < count; ++set) {
        const T weight = T(weights != nullptr ? weights[set] : 1.0);
        const Pack<T, Width> other = set == 0 ? g : load_set<Width>(set, i);
        for (std::uint64_t k = 0; k < Width; ++k)
          g.at[k] = set == 0 ? weight * other.at[k] : g.at[k] + weight * other.at[k];
      }
      for (std::uint64_t k = 0; k < Width; ++k) g.at[k] = g.at[k] / divisor;
    }
    return g;
  }

  // Dividing by a power of two gives the same bits as the CPU's multiplication.
  FUSEDSTEP_HD T unscale(T g) const { return scaled ? g / scale : g; }

  template <std::uint64_t Width>
  FUSEDSTEP_HD Pack<T, Width> gradient(std::uint64_t i) const {
    Pack<T, Width> g = combine<Width>(i);
    for (std::uint64_t k = 0; k < Width; ++k) g.at[k] = unscale(g.at[k]);
    return g;
  }

  template <std::uint64_t Width>
  FUSEDSTEP_HD void zero(std::uint64_t i) const {
    FUSEDSTEP_ROLLED
    for (std::uint64_t set = 0; set < count; ++set)
      if constexpr (Narrow)
        zero_number(array(set), format(set), i);
      else
        store<Width, T>(array(set), i, {});
  }
};

// The blocks of reduce.hpp within a chunk.
struct ReduceUnits {
  std::uint64_t begin, end;
  FUSEDSTEP_HD explicit ReduceUnits(const Work& work) : begin(work.begin), end(work.end) {}
  FUSEDSTEP_HD std::uint64_t count() const { return reduce_blocks(end - begin); }
  FUSEDSTEP_HD std::uint64_t first() const { return begin / kReduceBlock; }
  FUSEDSTEP_HD std::uint64_t start(std::uint64_t unit) const { return begin + unit * kReduceBlock; }
  FUSEDSTEP_HD std::uint64_t size(std::uint64_t unit) const {
    const std::uint64_t rest = end - start(unit);
    return rest < kReduceBlock ? rest : std::uint64_t(kReduceBlock);
  }
};

// Sums the block sums in `sums` for this block's task, of which it is the last chunk, into
// work.total. This overlaps with reading other tasks: at the end of the sweep, one block would have
// to sum all.
FUSEDSTEP_HD void sum_task(Block block, Work& work, double* sums) {
  double* const own = sums + work.task.first_block;
  block_tree_sum(
      block, work.lanes, reduce_blocks(work.task.size),
      [own](std::uint64_t i) { return load_l2(own + i); }, own, &work.total);
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

}  // namespace fusedstep::cuda
