// What an instruction set offers: one function per rule, variant and dtype.
#pragma once

#include <array>
#include <cstddef>

#include "rules/rules.hpp"

namespace fusedstep {

enum class DType : unsigned char { float32, float64 };
constexpr std::size_t kDTypes = 2;
constexpr std::size_t item_size(DType d) { return d == DType::float32 ? 4 : 8; }

// What is done to a gradient before the rule sees it, in this order: sets combined, negated,
// coupled decay added. Shared by the tensors of a group.
struct Gradient {
  std::size_t set_count = 1;
  const double* weights = nullptr;  // one a set; null: a single set, taken as it is
  double divisor = 1.0;
  bool negate = false;
  bool decay = false;
  double weight_decay = 0.0;

  bool is_plain() const { return weights == nullptr && !negate && !decay; }
};

// One tensor as a kernel sees it. All pointers are to element 0.
struct TensorView {
  void* param = nullptr;
  std::array<void*, kMaxStates> state = {};
  const void* const* sets = nullptr;  // one gradient a set
};

// Updates the elements [begin, end). `rule` points to the functor.
using Kernel = void (*)(const void* rule, const TensorView& tensor, const Gradient& gradient,
                        std::size_t begin, std::size_t end);

constexpr std::size_t kRules = rule_count(AllRules{});
constexpr std::size_t kMaxVariants = 1u << kMaxFlags;

struct KernelTable {
  const char* isa;
  Kernel kernel[kRules][kMaxVariants][kDTypes];
};

}  // namespace fusedstep
