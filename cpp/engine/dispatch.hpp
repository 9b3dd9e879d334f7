// Which instruction set the steps run on.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernel/kernel_table.hpp"

namespace fusedstep {

// Those that this CPU can run, in rising order.
const std::vector<const KernelTable*>& available_tables();

// Which of them steps run on: the best, or the one that the environment variable FUSEDSTEP_ISA
// names.
std::size_t current_isa();
inline const KernelTable& current_table() { return *available_tables()[current_isa()]; }

// Throws std::invalid_argument for a name that is not among the available ones; `source` is what
// the message calls the setting.
void use_isa(const std::string& name, const std::string& source = "isa");

}  // namespace fusedstep
