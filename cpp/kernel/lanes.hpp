// Registers of 32-bit words, for the codecs of narrow formats (formats/codes.hpp): the compiler's
// own vectors, whose arithmetic is that of single numbers, and the few instructions that widen and
// narrow integers, which GCC does not find. Included only by kernels.cpp, compiled once per
// instruction set: internal linkage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "formats/words.hpp"

namespace fusedstep {
namespace {

#if defined(__AVX512F__)
constexpr std::size_t kWidth = 16;  // words of a register
#elif defined(__AVX2__)
constexpr std::size_t kWidth = 8;
#else
constexpr std::size_t kWidth = 4;
#endif

using WordLanes = std::uint32_t __attribute__((vector_size(4 * kWidth)));
using FloatLanes = float __attribute__((vector_size(4 * kWidth)));
using SignedLanes = std::int32_t __attribute__((vector_size(4 * kWidth)));

// From and to memory, at any address.
template <class Lanes>
FUSEDSTEP_HD Lanes load_lanes(const void* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}
template <class Lanes>
FUSEDSTEP_HD void store_lanes(void* to, Lanes lanes) {
  std::memcpy(to, &lanes, sizeof lanes);
}

#if defined(__AVX512F__)

// Without a mask, GCC 12 warns of its own headers.
constexpr __mmask16 kAll = 0xffff;

FUSEDSTEP_HD WordLanes widen(const std::uint16_t* from) {
  return WordLanes(_mm512_maskz_cvtepu16_epi32(kAll, load_lanes<__m256i>(from)));
}
FUSEDSTEP_HD WordLanes widen(const std::uint8_t* from) {
  return WordLanes(_mm512_maskz_cvtepu8_epi32(kAll, load_lanes<__m128i>(from)));
}
FUSEDSTEP_HD void narrow(std::uint16_t* to, WordLanes words) {
  store_lanes(to, _mm512_maskz_cvtepi32_epi16(kAll, __m512i(words)));
}
FUSEDSTEP_HD void narrow(std::uint8_t* to, WordLanes words) {
  store_lanes(to, _mm512_maskz_cvtepi32_epi8(kAll, __m512i(words)));
}

// Words < 2^16 or < 2^8, in order; together they take half as many instructions.
FUSEDSTEP_HD void narrow(std::uint16_t* to, WordLanes a, WordLanes b) {
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  const __m512i packed = _mm512_packus_epi32(__m512i(a), __m512i(b));
  store_lanes(to, _mm512_maskz_permutexvar_epi64(0xff, order, packed));
}
FUSEDSTEP_HD void narrow(std::uint8_t* to, WordLanes a, WordLanes b, WordLanes c, WordLanes d) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i packed = _mm512_packus_epi16(_mm512_packus_epi32(__m512i(a), __m512i(b)),
                                             _mm512_packus_epi32(__m512i(c), __m512i(d)));
  store_lanes(to, _mm512_maskz_permutexvar_epi32(kAll, order, packed));
}

#elif defined(__AVX2__)

FUSEDSTEP_HD WordLanes widen(const std::uint16_t* from) {
  return WordLanes(_mm256_cvtepu16_epi32(load_lanes<__m128i>(from)));
}
FUSEDSTEP_HD WordLanes widen(const std::uint8_t* from) {
  return WordLanes(_mm256_cvtepu8_epi32(_mm_loadu_si64(from)));
}
FUSEDSTEP_HD __m128i packed(WordLanes words) {  // words < 2^16
  const __m256i halves = _mm256_packus_epi32(__m256i(words), __m256i(words));
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(halves, 0x08));
}
FUSEDSTEP_HD void narrow(std::uint16_t* to, WordLanes words) { store_lanes(to, packed(words)); }
FUSEDSTEP_HD void narrow(std::uint8_t* to, WordLanes words) {
  const __m128i halves = packed(words);
  _mm_storeu_si64(to, _mm_packus_epi16(halves, halves));
}
FUSEDSTEP_HD void narrow(std::uint16_t* to, WordLanes a, WordLanes b) {
  const __m256i packed = _mm256_packus_epi32(__m256i(a), __m256i(b));
  store_lanes(to, _mm256_permute4x64_epi64(packed, 0xd8));
}
FUSEDSTEP_HD void narrow(std::uint8_t* to, WordLanes a, WordLanes b, WordLanes c, WordLanes d) {
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i packed = _mm256_packus_epi16(_mm256_packus_epi32(__m256i(a), __m256i(b)),
                                             _mm256_packus_epi32(__m256i(c), __m256i(d)));
  store_lanes(to, _mm256_permutevar8x32_epi32(packed, order));
}

#elif defined(__SSE2__)

FUSEDSTEP_HD WordLanes widen(const std::uint16_t* from) {
  return WordLanes(_mm_unpacklo_epi16(_mm_loadu_si64(from), _mm_setzero_si128()));
}
FUSEDSTEP_HD WordLanes widen(const std::uint8_t* from) {
  std::int32_t bytes;
  std::memcpy(&bytes, from, sizeof bytes);
  const __m128i zero = _mm_setzero_si128();
  return WordLanes(_mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(bytes), zero), zero));
}
FUSEDSTEP_HD __m128i packed(WordLanes a, WordLanes b) {  // signed, as SSE2 alone can
  return _mm_packs_epi32(_mm_srai_epi32(_mm_slli_epi32(__m128i(a), 16), 16),
                         _mm_srai_epi32(_mm_slli_epi32(__m128i(b), 16), 16));
}
FUSEDSTEP_HD void narrow(std::uint16_t* to, WordLanes words) {
  _mm_storeu_si64(to, packed(words, words));
}
FUSEDSTEP_HD void narrow(std::uint16_t* to, WordLanes a, WordLanes b) {
  store_lanes(to, packed(a, b));
}
FUSEDSTEP_HD void narrow(std::uint8_t* to, WordLanes a, WordLanes b, WordLanes c, WordLanes d) {
  store_lanes(to, _mm_packus_epi16(_mm_packs_epi32(__m128i(a), __m128i(b)),
                                   _mm_packs_epi32(__m128i(c), __m128i(d))));
}
FUSEDSTEP_HD void narrow(std::uint8_t* to, WordLanes words) {
  __m128i bytes = _mm_packs_epi32(__m128i(words), __m128i(words));
  bytes = _mm_packus_epi16(bytes, bytes);
  const std::int32_t four = _mm_cvtsi128_si32(bytes);
  std::memcpy(to, &four, sizeof four);
}

#else

using HalfLanes = std::uint16_t __attribute__((vector_size(2 * kWidth)));
using ByteLanes = std::uint8_t __attribute__((vector_size(kWidth)));

FUSEDSTEP_HD WordLanes widen(const std::uint16_t* from) {
  return __builtin_convertvector(load_lanes<HalfLanes>(from), WordLanes);
}
FUSEDSTEP_HD WordLanes widen(const std::uint8_t* from) {
  return __builtin_convertvector(load_lanes<ByteLanes>(from), WordLanes);
}
FUSEDSTEP_HD void narrow(std::uint16_t* to, WordLanes words) {
  store_lanes(to, __builtin_convertvector(words, HalfLanes));
}
FUSEDSTEP_HD void narrow(std::uint8_t* to, WordLanes words) {
  store_lanes(to, __builtin_convertvector(words, ByteLanes));
}
template <class Code, class... More>
FUSEDSTEP_HD void narrow(Code* to, WordLanes words, More... more) {
  narrow(to, words);
  narrow(to + kWidth, more...);
}

#endif

// Each word times one.
FUSEDSTEP_HD Product<WordLanes> multiply(WordLanes a, std::uint32_t b) {
#if defined(__AVX512F__)
  const __m512i all = __m512i(a), by = _mm512_set1_epi32(int(b));
  const __m512i even = _mm512_maskz_mul_epu32(0xff, all, by);
  const __m512i odd = _mm512_maskz_mul_epu32(0xff, _mm512_maskz_srli_epi64(0xff, all, 32), by);
  return {WordLanes(_mm512_mask_shuffle_epi32(even, 0xaaaa, odd, _MM_PERM_CCAA)),
          WordLanes(_mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB))};
#elif defined(__AVX2__)
  const __m256i all = __m256i(a), by = _mm256_set1_epi32(int(b));
  const __m256i even = _mm256_mul_epu32(all, by);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(all, 32), by);
  return {WordLanes(_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa)),
          WordLanes(_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa))};
#else
  Product<WordLanes> result;
  for (std::size_t i = 0; i < kWidth; ++i) {
    const std::uint64_t product = std::uint64_t(a[i]) * b;
    result.low[i] = std::uint32_t(product);
    result.high[i] = std::uint32_t(product >> 32);
  }
  return result;
#endif
}

// The greatest of some words.
FUSEDSTEP_HD std::uint32_t greatest(WordLanes words) {
  std::uint32_t each[kWidth], result = 0;
  store_lanes(each, words);
#pragma omp simd reduction(max : result)
  for (std::size_t i = 0; i < kWidth; ++i) result = each[i] > result ? each[i] : result;
  return result;
}

// first, first + step, ...
FUSEDSTEP_HD WordLanes sequence(std::uint32_t first, std::uint32_t step) {
  std::uint32_t each[kWidth];
  for (std::size_t i = 0; i < kWidth; ++i) each[i] = first + std::uint32_t(i) * step;
  return load_lanes<WordLanes>(each);
}

}  // namespace

template <>
struct Words<WordLanes> {
  using Float = FloatLanes;
  using Signed = SignedLanes;
  FUSEDSTEP_HD static FloatLanes as_float(WordLanes bits) { return FloatLanes(bits); }
  FUSEDSTEP_HD static WordLanes as_bits(FloatLanes number) { return WordLanes(number); }
  FUSEDSTEP_HD static Product<WordLanes> multiply(WordLanes a, std::uint32_t b) {
    return fusedstep::multiply(a, b);
  }
  FUSEDSTEP_HD static FloatLanes to_float(WordLanes number) {
    return __builtin_convertvector(SignedLanes(number), FloatLanes);
  }
  FUSEDSTEP_HD static WordLanes to_integer(FloatLanes number) {
    return WordLanes(__builtin_convertvector(number, SignedLanes));
  }
};

}  // namespace fusedstep
