// What each instruction set provides: the loops of every rule, and per type the driver that runs
// them over a tensor.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gradient.hpp"
#include "rules/rule.hpp"
#include "tensor.hpp"

namespace fusedstep {

// A rule over whole blocks of a tensor that is not stored as computed, from element `at` on, the
// start of one: `gradient` has that of the first, as float32 or bfloat16.
using FusedSweep = void (*)(const void* rule, const TensorView& tensor, std::size_t at,
                            const Array& gradient, std::size_t blocks, const Draw& draw);

// Those of a rule, by how the parameter and the states are stored; null where they are not
// compiled.
enum class FusedParam : unsigned char { float32, nearest, stochastic, kahan, split16, split8 };
enum class FusedState : unsigned char { float32, bfloat16, signed8 };
struct FusedSweeps {
  FusedSweep of[6][3];
};

// The loops of one rule, variant and type, over the elements [at, at + count) of a tensor, whose
// arrays are stored as computed. Its states are indexed from `state_at` on. For a row-wise rule,
// what the elements share of their rows is in the place of its first state. `rule` points to the
// functor; `gradient` to that of the first element. As many arguments as registers: through memory,
// tensors of 64 elements took 1.5 times as long.
struct Sweeps {
  void (*plain)(const void* rule, const TensorView& tensor, std::size_t at, std::size_t state_at,
                const void* gradient, std::size_t count);
  // With the work before and after the rule: `extras` points to an Extras<T>.
  void (*full)(const void* rule, const TensorView& tensor, std::size_t at, std::size_t state_at,
               const void* gradient, std::size_t count, const void* extras);
  // First sweep of a layer-wise rule, else null: `adjust` points to an Adjustment<T>.
  void (*probe)(const void* rule, const TensorView& tensor, std::size_t at, const void* gradient,
                std::size_t count, const void* adjust, void* direction);
  // Row-wise rules, else null: updates the states of the rows [row, row + count) from their mean
  // squared gradients, and writes what the elements of each share.
  void (*settle)(const void* rule, const TensorView& tensor, std::size_t row, std::size_t count,
                 const double* mean_squares, void* shared);
  // Layer-wise rules, else null: the direction that probe() returns, from states as they are.
  void (*direction)(const void* rule, const TensorView& tensor, std::size_t at,
                    const void* gradient, std::size_t count, const void* adjust,
                    void* direction) = nullptr;
  bool probe_stores = false;  // the first sweep of a layer-wise rule updates the states
  const FusedSweeps* fused = nullptr;
};

constexpr std::size_t kMaxVariants = 1u << kMaxFlags;

// All loops of a rule for one instruction set.
struct RuleSweeps {
  Sweeps of[kMaxVariants][kComputes];
};

// Runs the loops of any rule, for one type. Ranges count elements of the part: [begin, end), rows
// for a row-wise rule and where they are short; or, for sums, blocks of reduce.hpp.
struct Driver {
  // Updates a range where the gradients are used as they are, without average or copy.
  void (*update_bare)(const Sweeps& sweeps, const void* rule, const Part& part,
                      const Gradient& gradient, std::size_t begin, std::size_t end);
  // Updates a range with every option of a step. `ema_decay` is the decay of the average.
  void (*update)(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient,
                 double ema_decay, std::size_t begin, std::size_t end);
  // Sums the squares of the combined and unscaled gradient over the blocks [first, last), and
  // records for each whether all its numbers are finite. Writes nothing else.
  void (*measure)(const Part& part, const Gradient& gradient, std::size_t size, std::size_t first,
                  std::size_t last, double* sums, unsigned char* finite);
  // First sweep of a layer-wise rule over the blocks [first, last): updates the state, and sums the
  // squares of the parameter and of the direction.
  void (*probe)(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient,
                std::size_t size, std::size_t first, std::size_t last, double* param_sums,
                double* direction_sums);
  // update_bare() or update(), and measure(), of named rows, one after the other.
  void (*update_rows)(const Sweeps& sweeps, const void* rule, const TensorView& tensor,
                      const NamedRows& rows, const Gradient& gradient, double ema_decay,
                      std::size_t begin, std::size_t end);
  void (*measure_rows)(const TensorView& tensor, const NamedRows& rows, const Gradient& gradient,
                       std::size_t first, std::size_t last, double* sums, unsigned char* finite);
};

struct KernelTable {
  const char* isa;
  Driver driver[kComputes];
  const RuleSweeps* rules;  // in the order of AllRules
};

}  // namespace fusedstep
