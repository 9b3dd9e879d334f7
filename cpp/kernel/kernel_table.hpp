// What an instruction set offers: functions per rule, variant and dtype.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "rules/rules.hpp"

namespace fusedstep {

enum class DType : unsigned char { float32, float64 };
constexpr std::size_t kDTypes = 2;
constexpr std::size_t item_size(DType d) { return d == DType::float32 ? 4 : 8; }
constexpr const char* name_of(DType d) { return d == DType::float32 ? "float32" : "float64"; }

// What is done to a gradient before the rule sees it, in this order: sets combined, unscaled,
// clipped by norm, clipped by value, negated, coupled decay added. Shared by the tensors of a
// group; the default of each does nothing.
struct Gradient {
  std::size_t set_count = 1;
  const double* weights = nullptr;  // one a set; null: a single set, taken as it is
  double divisor = 1.0;             // of the weighted sum
  double scale = 1.0;               // divides
  double factor = 1.0;              // 1 / scale where to multiply by it is the same, else 0
  double clip = 1.0;                // multiplies
  double max_value = std::numeric_limits<double>::infinity();
  bool negate = false;
  double weight_decay = 0.0;
  bool zero = false;  // afterwards, where it came from

  // Whether it is one array that the rule can read as it is, or with a few operations in registers.
  bool is_one_array() const { return weights == nullptr && factor != 0.0; }
  bool is_plain() const {
    return weights == nullptr && factor == 1.0 && clip == 1.0 && !negate && weight_decay == 0.0 &&
           max_value == std::numeric_limits<double>::infinity();
  }
};

// One tensor as a kernel sees it. All pointers are to element 0.
struct TensorView {
  void* param = nullptr;
  std::array<void*, kMaxStates> state = {};
  void* average = nullptr;                        // of the parameter over time, or null
  std::uint16_t* copy = nullptr;                  // the parameter in bfloat16, or null
  const void* const* sets = nullptr;              // one gradient a set
  double param_norm = 0.0, direction_norm = 0.0;  // for the second sweep of layer-wise rules
  std::size_t row_size = 1;                       // elements a row, of a row-wise rule
};

// Updates the elements [begin, end), of a row-wise rule the rows. `rule` points to the functor;
// `ema_decay` is that of average.
using Kernel = void (*)(const void* rule, const TensorView& tensor, const Gradient& gradient,
                        double ema_decay, std::size_t begin, std::size_t end);

// Sums the squares of the combined and unscaled gradient over the blocks [first, last) of
// reduce.hpp, and tells of each whether all its numbers are finite. Writes nothing else.
using Measure = void (*)(const TensorView& tensor, const Gradient& gradient, std::size_t size,
                         std::size_t first, std::size_t last, double* sums, unsigned char* finite);

// The first sweep of a layer-wise rule over the blocks [first, last) of reduce.hpp: moves the
// state, and sums the squares of the parameter and of the direction.
using Probe = void (*)(const void* rule, const TensorView& tensor, const Gradient& gradient,
                       std::size_t size, std::size_t first, std::size_t last, double* param_sums,
                       double* direction_sums);

constexpr std::size_t kRules = rule_count(AllRules{});
constexpr std::size_t kMaxVariants = 1u << kMaxFlags;

struct KernelTable {
  const char* isa;
  Kernel kernel[kRules][kMaxVariants][kDTypes];
  Probe probe[kRules][kMaxVariants][kDTypes];  // null for element-wise rules
  Measure measure[kDTypes];
};

}  // namespace fusedstep
