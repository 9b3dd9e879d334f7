#include "dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace fusedstep {

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(FUSEDSTEP_BASELINE_ONLY)
extern const KernelTable kernel_table_baseline;
extern const KernelTable kernel_table_avx2;
extern const KernelTable kernel_table_avx512;

static std::vector<const KernelTable*> detect() {
  // The builtin also checks operating system support (xgetbv).
  __builtin_cpu_init();
  std::vector<const KernelTable*> tables{&kernel_table_baseline};
  if (__builtin_cpu_supports("avx2")) tables.push_back(&kernel_table_avx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
    tables.push_back(&kernel_table_avx512);
  return tables;
}
#elif defined(__aarch64__)
extern const KernelTable kernel_table_neon;
static std::vector<const KernelTable*> detect() { return {&kernel_table_neon}; }
#else
extern const KernelTable kernel_table_baseline;
static std::vector<const KernelTable*> detect() { return {&kernel_table_baseline}; }
#endif

constexpr std::size_t kUnset = static_cast<std::size_t>(-1);
static std::atomic<std::size_t> chosen{kUnset};

const std::vector<const KernelTable*>& available_tables() {
  static const std::vector<const KernelTable*> tables = detect();
  return tables;
}

void use_isa(const std::string& name, const std::string& source) {
  const std::vector<const KernelTable*>& tables = available_tables();
  std::string known;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    if (name == tables[i]->isa) {
      chosen = i;
      return;
    }
    known += (known.empty() ? "" : ", ") + std::string(tables[i]->isa);
  }
  throw std::invalid_argument(source + ": expected one of " + known +
                              " (what this CPU can run), got '" + name + "'");
}

std::size_t current_isa() {
  if (chosen.load(std::memory_order_relaxed) == kUnset) {
    const char* wanted = std::getenv("FUSEDSTEP_ISA");
    use_isa(wanted != nullptr && *wanted != '\0' ? wanted : available_tables().back()->isa,
            "FUSEDSTEP_ISA");
  }
  return chosen.load(std::memory_order_relaxed);
}

}  // namespace fusedstep
