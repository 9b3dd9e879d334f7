// Selects the instruction set that steps run on.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernel/kernel_table.hpp"

namespace fusedstep {

// Those that this CPU supports, in ascending order.
const std::vector<const KernelTable*>& available_tables();

// Index of the one in use: the best, or the one named by the environment variable FUSEDSTEP_ISA.
std::size_t current_isa();
inline const KernelTable& current_table() { return *available_tables()[current_isa()]; }

// Throws std::invalid_argument if `name` is not available; `source` names the setting in the
// message.
void use_isa(const std::string& name, const std::string& source = "isa");

}  // namespace fusedstep
