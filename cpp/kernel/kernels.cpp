// Compiled once per instruction set, named by FUSEDSTEP_ISA (CMakeLists.txt).
#include <array>
#include <cfloat>

#include "driver.hpp"
#include "named_rows.hpp"
#include "rules/rules.hpp"
#include "sweeps.hpp"

#ifdef __FAST_MATH__
#error "the numeric contract (docs/numerics.md) cannot be kept with -ffast-math"
#endif
static_assert(FLT_EVAL_METHOD == 0, "every operation rounds to its own type");

#define FUSEDSTEP_JOIN_(a, b) a##b
#define FUSEDSTEP_JOIN(a, b) FUSEDSTEP_JOIN_(a, b)
#define FUSEDSTEP_TEXT_(a) #a
#define FUSEDSTEP_TEXT(a) FUSEDSTEP_TEXT_(a)

namespace fusedstep {
namespace {

template <class T>
constexpr Driver driver_of() {
  return {update_bare<T>, update<T>, measure<T>, probe<T>, update_rows<T>, measure_rows<T>};
}

constexpr auto make_sweeps() {
  std::array<RuleSweeps, rule_count(AllRules{})> sweeps{};
  for_each_rule(AllRules{}, [&](std::size_t index, auto tag) {
    sweeps[index] =
        sweeps_of_rule<decltype(tag)>(std::make_index_sequence<decltype(tag)::kVariants>{});
  });
  return sweeps;
}
constexpr auto kSweeps = make_sweeps();

}  // namespace

extern const KernelTable FUSEDSTEP_JOIN(kernel_table_, FUSEDSTEP_ISA);
constexpr KernelTable FUSEDSTEP_JOIN(kernel_table_, FUSEDSTEP_ISA) = {
    FUSEDSTEP_TEXT(FUSEDSTEP_ISA), {driver_of<float>(), driver_of<double>()}, kSweeps.data()};

}  // namespace fusedstep
