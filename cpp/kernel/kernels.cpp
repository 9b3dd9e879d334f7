// Compiled once per instruction set, named by FUSEDSTEP_ISA (CMakeLists.txt).
#include <cfloat>

#include "driver.hpp"

#ifdef __FAST_MATH__
#error "the numeric contract (docs/numerics.md) cannot be kept with -ffast-math"
#endif
static_assert(FLT_EVAL_METHOD == 0, "every operation rounds to its own type");

#define FUSEDSTEP_JOIN_(a, b) a##b
#define FUSEDSTEP_JOIN(a, b) FUSEDSTEP_JOIN_(a, b)
#define FUSEDSTEP_TEXT_(a) #a
#define FUSEDSTEP_TEXT(a) FUSEDSTEP_TEXT_(a)

namespace fusedstep {

extern const KernelTable FUSEDSTEP_JOIN(kernel_table_, FUSEDSTEP_ISA);
constexpr KernelTable FUSEDSTEP_JOIN(kernel_table_, FUSEDSTEP_ISA) =
    make_kernel_table(FUSEDSTEP_TEXT(FUSEDSTEP_ISA));

}  // namespace fusedstep
