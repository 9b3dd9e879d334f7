// Runs a rule over some rows of a tensor. Long rows take the ordinary way where they are. Short
// ones are gathered into a small tensor in L1, which takes the ordinary way, and scattered again:
// loops over a few numbers each would cost more than the copies. Included only by kernels.cpp:
// internal linkage, compiled once per instruction set.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "driver.hpp"

namespace fusedstep {
namespace {

// Bytes of each array in L1.
constexpr std::size_t kGatheredBytes = 2 * kShortRow;

// Rows of some bytes, at least Chunk, one after the other in `block`, from or to where `number`
// says they are. The last chunk of a row may overlap the one before it.
template <std::size_t Chunk, bool Gather>
void move_chunks(std::size_t bytes, const std::size_t* number, std::size_t count, std::byte* array,
                 std::byte* block) {
  for (std::size_t row = 0; row < count; ++row, block += bytes) {
    std::byte* const there = array + number[row] * bytes;
    const auto move = [&](std::size_t at) {
      std::memcpy((Gather ? block : there) + at, (Gather ? there : block) + at, Chunk);
    };
    for (std::size_t at = 0; at + Chunk <= bytes; at += Chunk) move(at);
    if (bytes % Chunk != 0) move(bytes - Chunk);
  }
}

template <bool Gather>
void move_rows(std::size_t bytes, const std::size_t* number, std::size_t count, const Array& array,
               void* block) {
  auto* const there = static_cast<std::byte*>(array.data);
  auto* const here = static_cast<std::byte*>(block);
  if (bytes >= 64) return move_chunks<64, Gather>(bytes, number, count, there, here);
  if (bytes >= 32) return move_chunks<32, Gather>(bytes, number, count, there, here);
  if (bytes >= 16) return move_chunks<16, Gather>(bytes, number, count, there, here);
  if (bytes >= 8) return move_chunks<8, Gather>(bytes, number, count, there, here);
  if (bytes >= 4) return move_chunks<4, Gather>(bytes, number, count, there, here);
  return move_chunks<2, Gather>(bytes, number, count, there, here);
}

// The gradients of the rows [row, row + count), one after the other: gathered, those of one row
// added, unless they lie like this.
template <class T>
Array gather_gradients(const NamedRows& rows, std::size_t row, std::size_t count, T* block) {
  const std::size_t size = rows.size;
  if (rows.first == nullptr) return from_element(rows.values, row * size);
  const auto gradient = [&](std::size_t k) {
    return elements<const T>(rows.values, rows.gradients[k] * size);
  };
  const std::size_t* const first = rows.first + row;
  if (first[count] - first[0] == count) {
    move_rows<true>(size * sizeof(T), rows.gradients + first[0], count, rows.values, block);
  } else {
    for (std::size_t i = 0; i < count; ++i) {
      T* const sum = block + i * size;
      std::copy_n(gradient(first[i]), size, sum);
      for (std::size_t k = first[i] + 1; k < first[i + 1]; ++k) {
        const T* const next = gradient(k);
#pragma omp simd
        for (std::size_t j = 0; j < size; ++j) sum[j] = sum[j] + next[j];
      }
    }
  }
  return {block, nullptr, rows.values.format};
}

// One long row as a part of its tensor, with its gradients as sets.
class LongRow {
 public:
  LongRow(const TensorView& tensor, const NamedRows& rows, const Gradient& gradient,
          std::size_t row)
      : gradient_(gradient),
        only_(from_element(rows.values, row * rows.size)),
        part_{&tensor, rows.number[row] * rows.size, &only_} {
    if (rows.first == nullptr) return;
    part_.sets = rows.sets + rows.first[row];
    gradient_.set_count = rows.first[row + 1] - rows.first[row];
    gradient_.weights = gradient_.set_count == 1 ? nullptr : rows.ones;
  }
  LongRow(const LongRow&) = delete;

  const Gradient& gradient() const { return gradient_; }
  const Part& part() const { return part_; }

 private:
  Gradient gradient_;
  Array only_;
  Part part_;
};

// Short rows, gathered.
template <class T>
class ShortRows {
 public:
  ShortRows(const Sweeps& sweeps, const TensorView& tensor, const NamedRows& rows)
      : tensor_(tensor), rows_(rows), here_(tensor), rowwise_(sweeps.settle != nullptr) {
    here_.param.data = param_;
    for (std::size_t k = 0; k < kMaxStates; ++k)
      if (here_.state[k]) here_.state[k].data = state_[k];
    if (here_.average) here_.average.data = average_;
    if (here_.copy) here_.copy.data = copy_;
  }
  ShortRows(const ShortRows&) = delete;

  std::size_t most() const { return kGathered / rows_.size; }  // at once

  // Gathers the rows [row, row + count), calls update(part), scatters them.
  template <class Update>
  void move(std::size_t row, std::size_t count, Update update) {
    const Array gradient = gather_gradients(rows_, row, count, gradient_);
    move_arrays<true>(row, count);
    update(Part{&here_, 0, &gradient});
    move_arrays<false>(row, count);
  }

 private:
  static constexpr std::size_t kGathered = kGatheredBytes / sizeof(T);

  template <bool Gather>
  void move_arrays(std::size_t row, std::size_t count) {
    const auto move = [&](const Array& array, std::size_t bytes, void* block) {
      if (array) move_rows<Gather>(bytes, rows_.number + row, count, array, block);
    };
    const std::size_t bytes = rows_.size * sizeof(T);
    move(tensor_.param, bytes, param_);
    for (std::size_t k = 0; k < kMaxStates; ++k)
      move(tensor_.state[k], rowwise_ ? sizeof(T) : bytes, state_[k]);
    move(tensor_.average, bytes, average_);
    if (!Gather) move(tensor_.copy, rows_.size * sizeof(std::uint16_t), copy_);
  }

  const TensorView& tensor_;
  const NamedRows& rows_;
  TensorView here_;
  const bool rowwise_;
  alignas(kCacheLine) T param_[kGathered], gradient_[kGathered], average_[kGathered];
  alignas(kCacheLine) T state_[kMaxStates][kGathered];
  alignas(kCacheLine) std::uint16_t copy_[kGathered];
};

template <class T>
void update_rows(const Sweeps& sweeps, const void* rule, const TensorView& tensor,
                 const NamedRows& rows, const Gradient& gradient, double ema_decay,
                 std::size_t begin, std::size_t end) {
  const bool is_bare =
      !tensor.average && !tensor.copy && tensor.is_native && is_native(rows.values.format);
  const auto step = [&](const Part& part, const Gradient& own, std::size_t from, std::size_t to) {
    if (is_bare && own.is_plain())
      update_bare<T>(sweeps, rule, part, own, from, to);
    else
      update<T>(sweeps, rule, part, own, ema_decay, from, to);
  };
  const bool rowwise = sweeps.settle != nullptr;
  if (rows.is_short) {
    ShortRows<T> gathered(sweeps, tensor, rows);
    for (std::size_t count; begin < end; begin += count) {
      count = std::min(end - begin, gathered.most());
      gathered.move(begin, count, [&](const Part& part) {
        step(part, gradient, 0, rowwise ? count : count * rows.size);
      });
    }
    return;
  }
  const std::size_t size = rowwise ? 1 : rows.size;  // in what the range counts
  for (std::size_t to; begin < end; begin = to) {
    const std::size_t row = begin / size, start = row * size;
    to = std::min(end, start + size);
    const LongRow own(tensor, rows, gradient, row);
    step(own.part(), own.gradient(), begin - start, to - start);
  }
}

template <class T>
void measure_rows(const TensorView& tensor, const NamedRows& rows, const Gradient& gradient,
                  std::size_t first, std::size_t last, double* sums, unsigned char* finite) {
  constexpr std::size_t kGathered = kGatheredBytes / sizeof(T);
  alignas(kCacheLine) T gathered[kGathered], staged[kGathered];
  const std::size_t blocks = reduce_blocks(rows.size);
  if (!rows.is_short)
    for (std::size_t to; first < last; first = to) {
      const std::size_t row = first / blocks, start = row * blocks;
      to = std::min(last, start + blocks);
      const LongRow own(tensor, rows, gradient, row);
      measure<T>(own.part(), own.gradient(), rows.size, first - start, to - start, sums + start,
                 finite + start);
    }
  const T factor = Adjustment<T>::unscaling_factor(gradient);
  for (std::size_t count; first < last; first += count) {
    count = std::min(last - first, kGathered / rows.size);
    const std::size_t n = count * rows.size;
    const Array set = gather_gradients(rows, first, count, gathered);
    const T* const numbers = stage_gradient<T>(gradient, &set, 0, n, staged);
    sum_rows(count, rows.size, numbers, factor, sums + first);
    for (std::size_t i = 0; i < count; ++i)
      finite[first + i] = is_finite<T>(
          sums[first + i], [&] { return differences(rows.size, numbers + i * rows.size, factor); });
  }
}

}  // namespace
}  // namespace fusedstep
