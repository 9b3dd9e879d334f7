// RAII guard for the IEEE 754 default floating-point environment (round to nearest, subnormals
// computed, no traps), which the numeric contract assumes.
#pragma once

#include <cstdint>

namespace fusedstep {

// Other libraries set flush-to-zero (-ffast-math, torch.set_flush_denormal) or another rounding
// mode, and only per thread: results would depend on the number of threads. Restored on exit.
class FloatEnvironment {
 public:
  FloatEnvironment() : saved_(read()), is_changed_((saved_ & kModes) != kDefault) {
    if (is_changed_) write(kDefault);
  }
  ~FloatEnvironment() {
    if (is_changed_) write(saved_);
  }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
  // The "memory" clobber keeps loads, and the arithmetic on them, on their side of the switch.
#if defined(__x86_64__) && defined(__GNUC__)
  using Word = std::uint32_t;  // MXCSR: the low six bits are sticky exception flags
  static constexpr Word kDefault = 0x1f80, kModes = 0xffc0;
  static Word read() {
    Word word;
    asm volatile("stmxcsr %0" : "=m"(word) : : "memory");
    return word;
  }
  static void write(Word word) { asm volatile("ldmxcsr %0" : : "m"(word) : "memory"); }
#elif defined(__aarch64__) && defined(__GNUC__)
  using Word = std::uint64_t;  // FPCR: the exception flags are in FPSR
  static constexpr Word kDefault = 0, kModes = ~Word{0};
  static Word read() {
    Word word;
    asm volatile("mrs %0, fpcr" : "=r"(word) : : "memory");
    return word;
  }
  static void write(Word word) { asm volatile("msr fpcr, %0" : : "r"(word) : "memory"); }
#else
  using Word = unsigned;
  static constexpr Word kDefault = 0, kModes = 0;
  static Word read() { return 0; }
  static void write(Word) {}
#endif

  const Word saved_;
  const bool is_changed_;
};

}  // namespace fusedstep
