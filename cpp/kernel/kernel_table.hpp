// What an instruction set offers: for each rule the loops that are its own, and for each type the
// driver that runs them over a tensor.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "gradient.hpp"
#include "rules/rules.hpp"
#include "tensor.hpp"

namespace fusedstep {

// Some elements with all that one loop over them touches, as pointers to what is computed in. Of a
// row-wise rule, a state points to the one number of the row.
struct Block {
  std::size_t count;
  void* param;
  const void* gradient;
  std::array<void*, kMaxStates> state;
  void* average;    // of Sweeps::whole alone
  void* direction;  // of Sweeps::probe alone, which writes it
};

// The loops of one rule, variant and type. `rule` points to the functor; `adjust` to what comes
// with it (adjustment.hpp): Adjustment<T> of probe, Around<T> of whole.
struct Sweeps {
  void (*plain)(const void* rule, const Block& block);
  void (*whole)(const void* rule, const void* around, const Block& block);
  // Of layer-wise rules, else null: the first sweep.
  void (*probe)(const void* rule, const void* adjust, const Block& block);
  // Of row-wise rules, else null: the states of a row, from the mean square of its gradient.
  void (*settle)(const void* rule, double mean_square, const std::array<void*, kMaxStates>& state);
};

constexpr std::size_t kMaxVariants = 1u << kMaxFlags;

// Of a rule, all that is compiled for an instruction set.
struct RuleSweeps {
  Sweeps of[kMaxVariants][kComputes];
};

// What runs the loops of any rule, for one type. All pieces are of elements of the part: [begin,
// end), of a row-wise rule rows; or, where sums are made, blocks of reduce.hpp.
struct Driver {
  // Updates a piece under an element-wise rule, where nothing is to be done but what the rule says.
  void (*update_bare)(const Sweeps& sweeps, const void* rule, const Part& part, std::size_t begin,
                      std::size_t end);
  // Updates a piece, with all that a step can do. `ema_decay` is that of the average.
  void (*update)(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient,
                 double ema_decay, std::size_t begin, std::size_t end);
  // Sums the squares of the combined and unscaled gradient over the blocks [first, last), and notes
  // of each whether all its numbers are finite. Writes nothing else.
  void (*measure)(const Part& part, const Gradient& gradient, std::size_t size, std::size_t first,
                  std::size_t last, double* sums, unsigned char* finite);
  // The first sweep of a layer-wise rule over the blocks [first, last): moves the state, and sums
  // the squares of the parameter and of the direction.
  void (*probe)(const Sweeps& sweeps, const void* rule, const Part& part, const Gradient& gradient,
                std::size_t size, std::size_t first, std::size_t last, double* param_sums,
                double* direction_sums);
};

constexpr std::size_t kRules = rule_count(AllRules{});

struct KernelTable {
  const char* isa;
  Driver driver[kComputes];
  RuleSweeps rules[kRules];  // in the order of AllRules
};

}  // namespace fusedstep
