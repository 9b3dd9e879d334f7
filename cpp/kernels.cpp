// Compiled once per instruction set, with FUSEDSTEP_ISA as its name (CMakeLists.txt).
#include "block_kernel.hpp"

#define FUSEDSTEP_JOIN_(a, b) a##b
#define FUSEDSTEP_JOIN(a, b) FUSEDSTEP_JOIN_(a, b)
#define FUSEDSTEP_TEXT_(a) #a
#define FUSEDSTEP_TEXT(a) FUSEDSTEP_TEXT_(a)

namespace fusedstep {

extern const KernelTable FUSEDSTEP_JOIN(kernel_table_, FUSEDSTEP_ISA);
constexpr KernelTable FUSEDSTEP_JOIN(kernel_table_, FUSEDSTEP_ISA) =
    make_kernel_table(FUSEDSTEP_TEXT(FUSEDSTEP_ISA));

}  // namespace fusedstep
