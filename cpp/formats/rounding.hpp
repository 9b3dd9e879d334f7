// How numbers lose the bits that a format cannot hold. Codecs (codes.hpp) make an integer of a
// number, of which the format keeps the upper bits; rounding adds something before the rest is
// dropped. Integers alone, so that every device and any order of the elements give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "words.hpp"

namespace fusedstep {

// How a narrow parameter is stored.
enum class Rounding : unsigned char {
  nearest,     // to even
  stochastic,  // up or down at random, right on average
  kahan,       // to nearest; a second number of the same format has the rest
  split,       // to nearest; the optimizer holds the next 16 or 8 bits
};

// What a step's random numbers depend on, besides the element.
struct Draw {
  std::uint64_t seed = 0;
  std::uint64_t step = 0;    // of the tensor, from 1
  std::uint32_t tensor = 0;  // its number in the optimizer
};

struct ToNearest {
  template <class U>
  FUSEDSTEP_HD U operator()(U code, int dropped) const {
    return ((code >> dropped) & 1u) + ((1u << (dropped - 1)) - 1u);
  }
};

// Rounds up with the probability that makes the result right on average, given numbers that are
// uniform in their upper bits.
template <class U>
struct Randomly {
  U uniform;
  FUSEDSTEP_HD U operator()(U, int dropped) const { return uniform >> (32 - dropped); }
};

// The numbers that states are rounded with: the multiples of two irrational numbers, modulo 1, in
// 32 bits. Over the steps they fill an element's interval more evenly than random numbers would
// (Weyl 1916; the golden ratio is best), at the price of one addition: the many changes of a moving
// average that are less than a rounding error then add up as they should, instead of being lost.
constexpr std::uint32_t kWeylStep = 0x9e3779b9u, kWeylElement = 0xc13fa9a9u;

FUSEDSTEP_HD std::uint32_t weyl(std::uint64_t step, std::uint64_t element) {
  return std::uint32_t(step) * kWeylStep + std::uint32_t(element) * kWeylElement;
}

// Philox4x32-10 (Salmon et al. 2011): four random words of a counter and a key.
template <class U>
struct PhiloxWords {
  U word[4];
};

template <class U>
FUSEDSTEP_HD PhiloxWords<U> philox(PhiloxWords<U> counter, std::uint32_t key0, std::uint32_t key1) {
  U* const word = counter.word;
  for (int round = 0; round < 10; ++round) {
    const Product<U> a = Words<U>::multiply(word[0], 0xd2511f53u);
    const Product<U> b = Words<U>::multiply(word[2], 0xcd9e8d57u);
    word[0] = b.high ^ word[1] ^ key0;
    word[1] = b.low;
    word[2] = a.high ^ word[3] ^ key1;
    word[3] = a.low;
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  return counter;
}

// Stochastic rounding takes 16 bits an element. Elements come in blocks of kRandomBlock, whose 64
// words are those of 16 counters: word w of counter c is for elements 32 * w + 2 * c (lower half)
// and 32 * w + 2 * c + 1 (upper half), so that SIMD over the counters writes them in order.
constexpr std::size_t kRandomBlock = 128, kCounters = 16;

// Counter c of a block: the number of both among the tensor's, the tensor, the step.
template <class U>
FUSEDSTEP_HD PhiloxWords<U> random_words(const Draw& draw, std::uint64_t block, U c) {
  const std::uint64_t first = block * kCounters;
  const U none = c * 0u;
  return philox<U>({{c | std::uint32_t(first), none + std::uint32_t(first >> 32),
                     none + draw.tensor, none + std::uint32_t(draw.step)}},
                   std::uint32_t(draw.seed), std::uint32_t(draw.seed >> 32));
}

// The 16 bits of one element, in the upper half of a word.
FUSEDSTEP_HD std::uint32_t random_bits(const Draw& draw, std::uint64_t element) {
  const auto in_block = std::uint32_t(element % kRandomBlock);
  const auto words = random_words(draw, element / kRandomBlock, in_block % 32 / 2);
  const std::uint32_t word = words.word[in_block / 32];
  return in_block % 2 == 0 ? word << 16 : word & 0xffff0000u;
}

}  // namespace fusedstep
