// The formats of arrays by the names of their dtypes.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "dlpack.hpp"
#include "formats/format.hpp"
#include "formats/rounding.hpp"
#include "rules/rule.hpp"

namespace fusedstep::bindings {

// Which formats an array may have. At most one of them goes with each dtype.
class Formats {
 public:
  constexpr Formats(std::initializer_list<Format> formats) {
    for (const Format format : formats) add(format);
  }
  // What parameters may have; or of these, what goes together, since it is computed in one type.
  static constexpr Formats numbers() {
    Formats result{};
    for (std::size_t i = 0; i < kFormatCount; ++i)
      if (kFormats[i].number) result.add(static_cast<Format>(i));
    return result;
  }
  static constexpr Formats numbers(Compute compute) {
    Formats result{};
    for (std::size_t i = 0; i < kFormatCount; ++i)
      if (kFormats[i].number && kFormats[i].compute == compute) result.add(static_cast<Format>(i));
    return result;
  }

  static constexpr Formats all() {
    Formats result{};
    for (std::size_t i = 0; i < kFormatCount; ++i) result.add(static_cast<Format>(i));
    return result;
  }

  constexpr void add(Format format) { bits_ |= bit(format); }
  constexpr bool has(Format format) const { return (bits_ & bit(format)) != 0; }
  constexpr bool is_empty() const { return bits_ == 0; }
  constexpr bool are_only(Format format) const { return bits_ == bit(format); }

 private:
  static constexpr unsigned bit(Format format) { return 1u << static_cast<unsigned>(format); }
  unsigned bits_ = 0;
};

constexpr Format native_of(Compute compute) {
  return compute == Compute::float64 ? Format::float64 : Format::float32;
}

// How a state may be stored that holds this, in a group whose states have at least this many bits
// a number.
constexpr Formats formats_of_state(Content content, Format native, unsigned bits) {
  Formats result{native};
  if (native != Format::float32 || content == Content::exact) return result;
  if (bits <= 16) result.add(Format::bfloat16);
  if (bits <= 8 && content == Content::average) result.add(Format::signed8);
  if (bits <= 8 && content == Content::square) result.add(Format::unsigned8);
  return result;
}

// What the optimizer holds beside a narrow parameter that is rounded so; none: nothing.
constexpr Formats formats_of_correction(Rounding rounding, Format param) {
  switch (rounding) {
    case Rounding::kahan:
      return {param};
    case Rounding::split:
      return {Format::correction16, Format::correction8};
    default:
      return {};
  }
}

// The dtype of the arrays that the optimizer holds in this format: where NumPy has none for it,
// that of integers of its bits.
constexpr const char* held_dtype(Format format) {
  switch (format) {
    case Format::bfloat16:
    case Format::float16:
      return "uint16";
    case Format::signed8:
    case Format::unsigned8:
      return "uint8";
    case Format::correction16:
      return "int16";
    case Format::correction8:
      return "int8";
    default:
      return name_of(format);
  }
}

// Which of the formats a dtype of this name has: its own, or with `as_bits` the one whose bits it
// holds. Device libraries without a bfloat16 of their own may call it two bytes of another type.
inline std::optional<Format> format_called(const std::string& dtype, Formats formats, bool as_bits,
                                           bool on_device) {
  for (std::size_t i = 0; i < kFormatCount; ++i) {
    const auto format = static_cast<Format>(i);
    if (!formats.has(format)) continue;
    if (kFormats[i].number && dtype == kFormats[i].name) return format;
    if (as_bits && dtype == held_dtype(format)) return format;
    if (as_bits && on_device && format == Format::bfloat16 &&
        (dtype == "int16" || dtype == "void16"))
      return format;
  }
  return std::nullopt;
}

// "float32, bfloat16 or float16"
inline std::string formats_text(Formats formats, bool as_bits = false) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kFormatCount; ++i) {
    const auto format = static_cast<Format>(i);
    if (!formats.has(format)) continue;
    const std::string name = kFormats[i].name, held = held_dtype(format);
    if (!kFormats[i].number)
      names.push_back(held + " (" + name + ")");
    else
      names.push_back(as_bits && held != name ? name + " (or its bits as " + held + ")" : name);
  }
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i)
    text += (i == 0 ? "" : i + 1 == names.size() ? " or " : ", ") + names[i];
  return text;
}

// Of a dtype with a format.
inline dlpack::TypeCode dlpack_code(const std::string& dtype) {
  switch (dtype[0]) {
    case 'b':
      return dlpack::kBfloat;
    case 'u':
      return dlpack::kUInt;
    case 'i':
      return dlpack::kInt;
    default:
      return dlpack::kFloat;
  }
}

}  // namespace fusedstep::bindings
