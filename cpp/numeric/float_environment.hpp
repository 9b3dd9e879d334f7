// The floating-point environment of IEEE 754 (rounded to nearest, subnormals computed, no traps),
// which the contract takes for granted, for as long as an object lives.
#pragma once

#include <cstdint>

namespace fusedstep {

// Other libraries set flush-to-zero (-ffast-math, torch.set_flush_denormal) or another rounding,
// and for one thread alone: steps would depend on how many threads they have. Theirs comes back.
class FloatEnvironment {
 public:
  FloatEnvironment() : found_(read()), is_foreign_((found_ & kModes) != kDefault) {
    if (is_foreign_) write(kDefault);
  }
  ~FloatEnvironment() {
    if (is_foreign_) write(found_);
  }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
  // "memory": no number is loaded, and so none computed, on the wrong side.
#if defined(__x86_64__) && defined(__GNUC__)
  using Word = std::uint32_t;  // MXCSR: its lowest six bits are flags of what has happened
  static constexpr Word kDefault = 0x1f80, kModes = 0xffc0;
  static Word read() {
    Word word;
    asm volatile("stmxcsr %0" : "=m"(word) : : "memory");
    return word;
  }
  static void write(Word word) { asm volatile("ldmxcsr %0" : : "m"(word) : "memory"); }
#elif defined(__aarch64__) && defined(__GNUC__)
  using Word = std::uint64_t;  // FPCR: the flags have a register of their own
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

  const Word found_;
  const bool is_foreign_;
};

}  // namespace fusedstep
